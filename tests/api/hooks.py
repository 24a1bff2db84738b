"""What no schema says: which fields go together, what time it is, and which token must live through the run."""

import atexit
import collections
import json
import os
from datetime import datetime, timedelta, timezone

import schemathesis

OWN_TOKEN = os.environ["API_TOKEN_ID"]
ANSWERS = collections.Counter()
MADE = {}
TOKENS = []
TURNS = collections.Counter()
AHEAD = (datetime.now(timezone.utc) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
HOURS = ("2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z")


def fits_together(method, path, body):
    """Makes a body that is right field by field right as a whole."""
    if body.get("expires_at"):
        # Times are drawn from answers, too, and those lie behind us.
        body["expires_at"] = AHEAD
    if path in ("/accounts", "/accounts/{id}"):
        if body.get("plan") == "trial":
            body["trial_until"] = AHEAD
        else:
            body.pop("trial_until", None)
    if body.get("sources"):
        body["sources"] = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"][: len(body["sources"])]
    if body.get("filters"):
        # Any number is an id, and hardly any is one of the account's filters.
        body["filters"] = []
    if path == "/leaks":
        body.pop("digest" if body.get("token") else "token", None)
        if TOKENS and TURNS["POST /leaks"] % 3 == 0:
            body.clear()
            body["token"] = TOKENS[-1]
        elif not body.get("digest"):
            body["token"] = "nobody-has-made-this-one"
    if method == "POST" and path in ("/tokens", "/api-tokens", "/shared-tokens", "/shared-filters"):
        # Of the accounts that there may be, the first one is there.
        body["account"] = 1
    if (method, path) == ("POST", "/users"):
        if body.get("role") == "operator":
            body.pop("account", None)
        elif not body.get("account"):
            body["account"] = 1


@schemathesis.hook
def before_call(context, case, kwargs):
    """Changes only what was drawn to be accepted."""
    path = case.operation.path
    parameters = case.path_parameters or {}
    if path.startswith("/api-tokens/") and str(parameters.get("id")) == OWN_TOKEN:
        parameters["id"] = int(OWN_TOKEN) + 1_000_000
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    TURNS[case.operation.label] += 1
    if isinstance(case.body, dict):
        fits_together(case.method.upper(), path, case.body)
    if isinstance(case.query, dict) and {"from", "to"} & set(case.query):
        case.query["from"], case.query["to"] = HOURS
    # Every third time what was made last: ids that are drawn are hardly ever there.
    made = MADE.get(path.split("/")[1])
    if "{id}" in path and made and TURNS[case.operation.label] % 3 == 0:
        parameters["id"] = made
        for name in [name for name in case.headers or {} if name.lower() == "if-match"]:
            del case.headers[name]


@schemathesis.hook
def after_call(context, case, response):
    """Counts, and remembers what was made."""
    ANSWERS[case.operation.label, response.status_code] += 1
    if response.status_code == 201 and "id" in (made := response.json()):
        MADE[case.operation.path.split("/")[1]] = made["id"]
        if case.operation.path == "/tokens":
            TOKENS.append(made["token"])


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    """Text as it is, and whatever else as one line."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")


@atexit.register
def write_down():
    """For `counted.py`."""
    with open(os.environ["API_COUNTS"], "w") as file:
        json.dump([[label, status, count] for (label, status), count in ANSWERS.items()], file)
