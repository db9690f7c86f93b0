"""A task in Python: a title becomes a slug. Twinpool starts it once and sends it one job a line."""
import json
import re
import sys
import unicodedata


def slug(text, max_length):
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:max_length]


print('{"ready":true}', flush=True)
for line in sys.stdin:
    job = json.loads(line)
    try:
        answer = {"id": job["id"], "result": slug(**job["args"])}
    except Exception as error:  # this job's failure, not the program's
        answer = {"id": job["id"], "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
