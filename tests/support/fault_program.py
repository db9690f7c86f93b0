"""A program that fails in a given way at a given point: {"point": "running", "fault": "exit1"}.

Points: reading (the request is not yet read whole), running, writing (half of the answer is out), after (all of it is),
idle (a moment later), deaf (likewise, and until then it cannot be written to). At its start it does what the file FAULT_AT_START says, once: the file is taken away.
"""
import json
import os
import signal
import sys
import time


def fail(kind):
    if kind == "exit0":
        os._exit(0)
    if kind == "exit1":
        os._exit(1)
    if kind == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "memory":
        global held
        held = b"x" * (130 << 20)
        time.sleep(0.1)
    if kind == "files":
        held = []
        while True:
            held.append(open("/dev/null"))
    if kind == "error":
        raise RuntimeError("as it was told to")


def say(line):
    os.write(1, line.encode())


start_file = os.environ.get("FAULT_AT_START", "")
if os.path.exists(start_file):
    with open(start_file) as opened:
        start_fault = opened.read().strip()
    os.unlink(start_file)
    fail(start_fault)
say('{"ready":true}\n')
pending = b""
while True:
    chunk = os.read(0, 4096)
    if not chunk:
        break
    pending += chunk
    head = pending[:200].decode("utf-8", "replace")
    if '"point":"reading"' in head and b"\n" not in pending:
        fail(head.split('"fault":"')[1].split('"')[0])
    if b"\n" not in pending:
        continue
    line, pending = pending.split(b"\n", 1)
    job = json.loads(line)
    point, kind = job["args"].get("point"), job["args"].get("fault")
    answer = json.dumps({"id": job["id"], "result": os.getpid()}) + "\n"
    if point in ("running", "reading"):
        try:
            fail(kind)
        except (RuntimeError, OSError) as error:
            held = None
            answer = json.dumps({"id": job["id"], "error": str(error)}) + "\n"
    if point == "writing":
        say(answer[:10])
        time.sleep(0.02)
        fail(kind)
        answer = answer[10:]
    say(answer)
    if point == "deaf":
        os.close(0)
    if point in ("deaf", "idle"):
        time.sleep(0.05)
    if point in ("after", "deaf", "idle"):
        fail(kind)
