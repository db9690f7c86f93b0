"""A program that often does what it should not, and writes down what it was given. `python3 wild_program.py FILE`"""
import json
import os
import random
import signal
import sys

ran = open(sys.argv[1], "a", buffering=1)
print('{"ready":true}', flush=True)


def answer(job):
    return json.dumps({"id": job["id"], "result": job["args"]["k"]})


def misbehave(job, way):
    if way == 0:
        os._exit(3)
    elif way == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == 2:
        print("junk", flush=True)
    elif way == 3:
        print(answer(job), flush=True)
        os._exit(0)
    elif way == 4:
        print(answer(job) + "\n" + json.dumps({"id": job["id"] + 1, "result": -1}), flush=True)
    elif way == 5:
        print(answer(job), flush=True)
        print("late", flush=True)
    else:
        print(json.dumps({"id": job["id"], "error": str(job["args"]["k"])}), flush=True)


for line in sys.stdin:
    job = json.loads(line)
    ran.write("%d\n" % job["args"]["k"])
    if random.random() < 0.1:
        misbehave(job, random.randrange(7))
    else:
        print(answer(job), flush=True)
