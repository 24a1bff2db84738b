"""h2load ships log bulk over cleartext HTTP/2, many streams on few connections."""

import json
import re

import archive

REQUESTS, LINES = 2000, 5


def run(stage):
    gateway = stage.gateway()
    body = stage.folder / "body"
    body.write_text("".join(json.dumps({"message": "hello", "n": n}) + "\n" for n in range(LINES)))
    done = stage.command(
        "h2load", "-n", REQUESTS, "-c", 4, "-m", 32, "-d", body,
        "-H", f"authorization: Bearer {gateway.token('logs')}", gateway.url("bulk", "/"),
    )  # fmt: skip
    good = int(re.search(r"(\d+) 2xx", done.stdout)[1]) if done.returncode == 0 else 0
    stage.check("h2load sees 2xx", good == REQUESTS, f"{good} of {REQUESTS}")
    archived = archive.bulk(gateway.data, 1, "n")
    # Every request has the same lines: what counts is how often each is there.
    counts = {n: archived.count(n) for n in range(LINES)}
    is_equal = all(count == REQUESTS for count in counts.values()) and len(archived) == REQUESTS * LINES
    stage.check("h2load over HTTP/2", is_equal, f"sent {REQUESTS * LINES}, archived {len(archived)}")
