"""A program that does what a test tells it to, good and bad. `python3 odd_program.py [start]`"""
import json
import os
import signal
import subprocess
import sys
import time

start = sys.argv[1] if len(sys.argv) > 1 else ""
if start.startswith("needs:") and not os.path.exists(start[6:]):
    print("I need", start[6:], file=sys.stderr, flush=True)
    sys.exit(7)
if start == "quits":
    print('{"ready":true}', flush=True)
    sys.exit(0)
if start == "killed":
    print('{"ready":true}', flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
if start == "late":
    time.sleep(60)
if start == "wrong":
    print("hello", flush=True)
    time.sleep(60)


def say(text, end="\n"):
    sys.stdout.write(text + end)
    sys.stdout.flush()


def result(job, value):
    return json.dumps({"id": job["id"], "result": value})


# What follows the id.
raw = {
    "nul": b'"result":"a\x00b"}',
    "latin": b'"result":"\xe4"}',
    "surrogate": b'"result":"\\ud800"}',
    "deep": b'"result":' + b"[" * 100 + b"]" * 100 + b"}",
    "twice": b'"result":1,"result":2}',
    "other": b'"id":1,"result":1}',
    "tail": b'"result":1} and more',
    "carriage": b'"result":1}\r',
}


def act(job, do, n):
    if do == "echo":
        say(result(job, {"args": job["args"], "payload": job.get("payload_base64")}))
    elif do == "pid":
        say(result(job, os.getpid()))
    elif do == "bytes":
        say(json.dumps({"id": job["id"], "result_base64": "AAECAw=="}))
    elif do == "error":
        say(json.dumps({"id": job["id"], "error": "no such page: \u00e4"}))
    elif do == "garbage":
        say("Traceback (most recent call last):")
    elif do == "stale":
        say(json.dumps({"id": job["id"] - 1, "result": 1}))
    elif do == "neither":
        say(json.dumps({"id": job["id"]}))
    elif do == "both":
        say(json.dumps({"id": job["id"], "result": 1, "error": "x"}))
    elif do == "both_results":
        say(json.dumps({"id": job["id"], "result": 1, "result_base64": "AA=="}))
    elif do == "two":
        say(result(job, 1) + "\n" + result(job, 2))
    elif do in raw:
        head = b'{"id":%d,' % job["id"]
        os.write(1, head + raw[do] + b"\n")
    elif do == "later":
        say(result(job, 1))
        time.sleep(0.05)
        say(result(job, 2))
    elif do == "slowly":
        for c in result(job, "slowly"):
            say(c, end="")
        say("")
    elif do == "large":
        say(result(job, "x" * n))
    elif do == "cut":
        say(result(job, 1)[:5], end="")
        sys.exit(0)
    elif do == "raise":
        print("x" * 20000, file=sys.stderr, flush=True)
        raise ValueError("as it was told")
    elif do == "exit":
        sys.exit(n)
    elif do == "kill":
        os.kill(os.getpid(), n)
    elif do == "close":
        os.close(1)
        time.sleep(60)
    elif do == "close_exit":
        os.close(1)
        time.sleep(0.05)
        os._exit(n)
    elif do == "close_eat":
        os.close(1)
        print("x" * 200000, file=sys.stderr, flush=True)
        act(job, "eat", n)
    elif do == "spin_lost":  # no child works for long, and none is waited for
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for i in range(n):
            if os.fork() == 0:
                until = time.process_time() + 0.3
                while time.process_time() < until:
                    pass
                os._exit(0)
            try:
                os.wait()
            except ChildProcessError:
                pass
        say(result(job, n))
    elif do == "spin":
        while True:
            pass
    elif do == "sleep":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(n / 1000)
        say(result(job, n))
    elif do == "fork":
        subprocess.Popen(["sleep", str(n)])
        time.sleep(60)
    elif do == "orphan":  # its child holds the pipes
        if os.fork() == 0:
            time.sleep(60)
        os._exit(n)
    elif do == "leave":
        say(result(job, os.getpid()))
        os._exit(0)
    elif do == "bear":  # children of children that have ended: their orphans are not its own to wait for
        for i in range(n):
            if os.fork() == 0:
                if os.fork() == 0:
                    os._exit(0)
                os._exit(0)
        for i in range(n):
            os.wait()
        say(result(job, os.getppid()))
    elif do == "swarm":
        for i in range(n):
            if os.fork() == 0:
                time.sleep(60)
        time.sleep(60)
    elif do == "eat":
        block = bytearray(n)
        for i in range(0, n, 4096):
            block[i] = 1
        time.sleep(60)
    elif do == "log":
        print("a message\nand another", file=sys.stderr, flush=True)
        say(result(job, 0))
    else:
        say(json.dumps({"id": job["id"], "error": "what?"}))


say('{"ready":true}')
for line in sys.stdin:
    job = json.loads(line)
    act(job, job["args"].get("do", "echo"), job["args"].get("n", 0))
