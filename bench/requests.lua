-- wrk -s requests.lua URL -- NAME STATIC_ORIGIN DELAY_ORIGIN: sends the request NAME over and over, checks what comes back and prints
-- one line: RESULT requests microseconds p50_us p99_us errors
local threads = {}

local function repeated(count, text)
  local list = {}
  for i = 1, count do list[i] = text end
  return table.concat(list, ",")
end

local function compute(n)
  return { path = "/compute/sum_squares", body = string.format('{"n":%d}', n), expect = '"result":' }
end

local function delayed(count, url)
  return { path = "/fetch", body = '{"concurrency":5000,"urls":[' .. repeated(count, '"' .. url .. '"') .. ']}', expect = '"ok":' .. count .. ',' }
end

-- path, body, and what a right answer contains
local function requests(static, delay)
  local one = { path = "/fetch", body = '{"urls":["' .. static .. '/small"]}', expect = '"status":200' }
  return {
    healthz = { path = "/healthz", expect = '"ok"' },
    compute_10 = compute(10),
    compute_1m = compute(1000000),
    map_100x1000 = { path = "/compute/sum_squares/map", body = "[" .. repeated(100, '{"n":1000}') .. "]", expect = '"ok":100,' },
    fetch_1 = one, fetch_1_calm = one, fetch_1_tarpit = one,
    fetch_20x64k = { path = "/fetch", body = '{"urls":[' .. repeated(20, '"' .. static .. '/big"') .. ']}', expect = '"ok":20,' },
    fetch_100_delayed = delayed(100, delay .. "/delay/50"),
    fetch_1000_delayed = delayed(1000, delay .. "/delay/100"),
    fetch_10000_delayed = delayed(10000, delay .. "/delay/100"),
  }
end

function setup(thread) threads[#threads + 1] = thread end

function init(args)
  local request = requests(args[2], args[3])[args[1]] or error("no such request: " .. tostring(args[1]))
  wrk.path, wrk.body = request.path, request.body
  wrk.method = request.body and "POST" or "GET"
  if request.body then wrk.headers["Content-Type"] = "application/json" end
  expect, seen, wrong = request.expect, 0, 0
end

-- Looking at every answer would make wrk the bottleneck: the first and then every 64th.
function response(status, _, body)
  if seen % 64 == 0 and (status ~= 200 or not body:find(expect, 1, true)) then wrong = wrong + 1 end
  seen = seen + 1
end

function done(summary, latency)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  for _, thread in ipairs(threads) do errors = errors + (thread:get("wrong") or 0) end
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors))
end
