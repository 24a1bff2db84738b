"""Whether every operation was done: a run in which everything is refused finds no mistake."""

import collections
import json
import sys

# A shared token's alone, and people's: who asks with a token has no session. No gateway was here. And the document was read before.
NEVER = {"POST /session", "PATCH /session", "DELETE /session", "DELETE /gateways/{name}", "GET /openapi.json",
    "GET /shared/usage"}

document, counts = (json.load(open(path)) for path in sys.argv[1:])
methods = ("get", "post", "put", "patch", "delete")
operations = {
    f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item if method in methods
}
done = collections.Counter()
for label, status, count in counts:
    if 200 <= status < 300:
        done[label] += count
undone = sorted(operations - set(done) - NEVER)
statuses = collections.Counter()
for _, status, count in counts:
    statuses[status] += count
print(f"{sum(statuses.values())} requests of {len(operations)} operations: {dict(sorted(statuses.items()))}")
if undone or not operations:
    sys.exit(f"never done: {', '.join(undone) or 'nothing'}")
