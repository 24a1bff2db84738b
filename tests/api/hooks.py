"""What no schema says: which fields go together, what time it is, what is there, and which token must live through the run.

The first time that an operation is drawn to be accepted, it is asked plainly, of a thing that was made for it: so each is done
once, however short the run is. From then on it is asked as drawn, every third time of what was made last.
"""

import atexit
import collections
import json
import os
from datetime import datetime, timedelta, timezone

import requests
import schemathesis

URL = os.environ["API_URL"]
ASKED = requests.Session()
ASKED.headers["Authorization"] = f"Bearer {os.environ['API_TOKEN']}"
OWN_TOKEN = os.environ["API_TOKEN_ID"]
# Everything that is made stands in the first account, so that one stays what it is.
OWN_ACCOUNT = "1"
NOBODYS_ID = 1_000_000
ANSWERS = collections.Counter()
MADE = {}
TOKENS = []
TURNS = collections.Counter()
# Of what might be the last enabled token of its signal.
FORCED = {("DELETE", "/tokens/{id}"), ("POST", "/tokens/{id}/disable")}
AHEAD = (datetime.now(timezone.utc) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
HOURS = ("2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z")


def new(collection):
    """A body that makes a thing there, and that nobody has sent before."""
    TURNS["new"] += 1
    name = f"plain {TURNS['new']}"
    return {
        "accounts": {"name": name},
        "destinations": {"name": name, "kind": "archive"},
        "tokens": {"account": 1, "signal": "logs", "name": name},
        "api-tokens": {"name": name, "scopes": ["read"]},
        "shared-tokens": {"account": 1, "name": name, "filters": []},
        "shared-filters": {"account": 1, "field": "signal", "value": "logs"},
        "users": {"account": 1, "name": name, "role": "reader", "password": "long enough for all"},
    }[collection]


def make(collection):
    answer = ASKED.post(f"{URL}/{collection}", json=new(collection), timeout=30)
    answer.raise_for_status()
    return answer.json()


def plain(method, path):
    """A body that is right, where one is taken."""
    collection = path.split("/")[1]
    if path == "/leaks":
        return {"token": make("tokens")["token"]}
    if (method, path) == ("POST", f"/{collection}"):
        return new(collection)
    if path == "/users/{id}":
        return {"password": "another one, long enough"}
    if path == "/shared-filters/{id}":
        return {"description": "seen"}
    if method == "PATCH":
        return {"name": new(collection)["name"]}
    return {}


def ask_plainly(case, method, path):
    """For the first time: what must be answered with success."""
    collection = path.split("/")[1]
    if collection == "session":
        # People's: an API token has none.
        return
    if "{id}" in path:
        case.path_parameters["id"] = make(collection)["id"]
    if isinstance(case.body, dict):
        case.body = plain(method, path)
    for drawn in (case.headers, case.query):
        if drawn:
            drawn.clear()
    if (method, path) in FORCED:
        case.query["force"] = "true"
    if (method, path) == ("DELETE", "/shared-tokens/{id}"):
        # The one kind that must be revoked before.
        ASKED.post(f"{URL}/shared-tokens/{case.path_parameters['id']}/revoke", timeout=30).raise_for_status()


def fits_together(method, path, body):
    """Makes a body that is right field by field right as a whole."""
    if body.get("expires_at"):
        # Times are drawn from answers, too, and those lie behind us.
        body["expires_at"] = AHEAD
    if "expires_at" in body:
        # One of the two.
        body.pop("expires_in_seconds", None)
    if path in ("/accounts", "/accounts/{id}"):
        body.pop("trial_seconds", None)
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
    method = case.method.upper()
    parameters = case.path_parameters or {}
    named = str(parameters.get("id"))
    if path.startswith("/api-tokens/") and named == OWN_TOKEN:
        parameters["id"] = NOBODYS_ID
    if path.startswith("/accounts/") and named == OWN_ACCOUNT and method != "GET":
        parameters["id"] = NOBODYS_ID
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    TURNS[case.operation.label] += 1
    if TURNS[case.operation.label] == 1:
        ask_plainly(case, method, path)
    elif isinstance(case.body, dict):
        fits_together(method, path, case.body)
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


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whatever text is imported is lines: one that is no token is refused by itself, and the answer says so with 200."""
    if case.operation.label != "POST /tokens/import" or type(failure).__name__ != "AcceptedNegativeData":
        return True
    wrong = [place.name for place, part in case.meta.components.items() if part.mode.is_negative]
    return wrong != ["BODY"]


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
