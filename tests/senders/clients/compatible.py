"""Drives every compatible route as a script written for its contract alone would: BASE_URL and an API token's file.

Prints JSON: a list of `[claim, whether it held, what was seen]`.
"""

import json
import pathlib
import sys
import time
import urllib.error
import urllib.request

TOKENS = "/v1/log-shipping/tokens"
TIME_BASED = "/v1/account-management/time-based-accounts"
METRICS = "/v1/account-management/metrics-accounts"
SHARED = "/v1/shared-tokens"
FILTERS = "/v1/shared-tokens/filters"
TOKEN_FIELDS = {"name", "id", "token", "updatedAt", "updatedBy", "createdAt", "createdBy", "enabled"}
SHARED_FIELDS = {"id", "name", "token", "filters", "lastUsed", "expirationDate", "filtersOperator"}
METRICS_FIELDS = {"id", "accountName", "token", "createdAt", "planUts", "authorizedAccountsIds"}

base, key = sys.argv[1], pathlib.Path(sys.argv[2]).read_text().strip()
rows = []
called = set()


def call(method, path, body=None, token=None):
    """Status, and the body as JSON where there is one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data=data, method=method)
    request.add_header("X-API-TOKEN", key if token is None else token)
    request.add_header("Content-Type", "application/json")
    shape = "/".join("{id}" if part.isdigit() else part for part in path.split("/"))
    called.add(f"{method} {shape}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return status, json.loads(text) if text else None


def check(claim, is_good, seen=""):
    rows.append([claim, bool(is_good), redacted(seen)])


def redacted(seen):
    text = json.dumps(seen) if not isinstance(seen, str) else seen
    return "(holds a token)" if "whf_" in text else text[:300]


def is_seconds(value):
    return isinstance(value, float) and abs(value - time.time()) < 600


def is_millis(value):
    return isinstance(value, int) and abs(value / 1000 - time.time()) < 600


def privileges():
    refused = (403, {"code": 403, "message": "Insufficient privileges"})
    for token in ("whf_a_nonsense", "0123456789abcdef0123456789abcdef", ""):
        seen = call("GET", "/v2/whoami", token=token)
        check(f"a bad token of {len(token)} characters is 403", seen == refused, seen)
    status, me = call("GET", "/v2/whoami")
    is_good = status == 200 and set(me) == {"accountId", "accountName"} and isinstance(me["accountId"], int)
    check("whoami", is_good, me)
    return me["accountId"]


def shipping_tokens():
    status, limits = call("GET", f"{TOKENS}/limits")
    is_good = status == 200 and limits == {"maxAllowedTokens": 15, "numOfEnabledTokens": 0}
    check("limits before", is_good, limits)
    status, first = call("POST", TOKENS, {"name": "first", "enabled": False})
    check("a new token is 201 and enabled", status == 201 and first["enabled"] is True, first)
    check("a token has the model's fields", set(first) == TOKEN_FIELDS, sorted(first))
    check("its times are float seconds", is_seconds(first["createdAt"]) and is_seconds(first["updatedAt"]))
    one = f"{TOKENS}/{first['id']}"
    status, shown = call("GET", one)
    check("a token is shown", status == 200 and shown == first)
    for enabled in (False, "false"):
        status, _ = call("PUT", one, {"name": "first", "enabled": enabled})
        check(f"the last enabled token can't be disabled by {enabled!r}", 400 <= status < 500, status)
    status, _ = call("DELETE", one)
    check("the last enabled token can't be deleted", 400 <= status < 500, status)
    status, second = call("POST", TOKENS, {"name": "second", "enabled": "true"})
    check("a second token is 201", status == 201, status)
    for enabled in ("false", True, False):
        status, changed = call("PUT", one, {"name": f"as {enabled}", "enabled": enabled})
        is_good = status == 200 and changed["name"] == f"as {enabled}"
        check(f"enabled is set by {enabled!r}", is_good and changed["enabled"] is (enabled is True), changed)
    status, limits = call("GET", f"{TOKENS}/limits")
    check("disabled tokens don't count", status == 200 and limits["numOfEnabledTokens"] == 1, limits)
    searches(second)
    status, deleted = call("DELETE", one)
    check("DELETE answers the model", status == 200 and set(deleted) == TOKEN_FIELDS and deleted["id"] == first["id"])
    for method in ("GET", "PUT", "DELETE"):
        status, _ = call(method, one, {} if method == "PUT" else None)
        check(f"{method} of a deleted token is 404", status == 404, status)


def searches(second):
    body = {
        "filter": {"enabled": True},
        "sort": [{"field": "createdAt", "descending": True}],
        "pagination": {"pageNumber": 1, "pageSize": 25},
    }
    status, found = call("POST", f"{TOKENS}/search", body)
    is_good = status == 200 and set(found) == {"total", "results", "pagination"}
    is_good = is_good and found["total"] == 1 and found["results"] == [second]
    check("a search finds enabled tokens", is_good and found["pagination"] == body["pagination"], found)
    body["filter"]["enabled"] = False
    status, found = call("POST", f"{TOKENS}/search", body)
    check("a search finds disabled tokens", status == 200 and found["total"] == 1, found)
    for size, expected in ((0, 400), (1, 200), (1000, 200), (1001, 400)):
        status, _ = call("POST", f"{TOKENS}/search", {"pagination": {"pageNumber": 1, "pageSize": size}})
        check(f"pageSize {size} is {expected}", status == expected, status)
    status, past = call("POST", f"{TOKENS}/search", {"pagination": {"pageNumber": 99, "pageSize": 1000}})
    check("past the end is an empty page", status == 200 and past["results"] == [] and past["total"] == 2, past)
    both = {"sort": [{"field": "createdAt", "descending": True}], "pagination": {"pageNumber": 1, "pageSize": 1}}
    status, page = call("POST", f"{TOKENS}/search", both)
    check("the latest comes first", status == 200 and page["results"] == [second] and page["total"] == 2)


def sub_accounts(me):
    body = {
        "email": "somebody@example.com",
        "accountName": "compatible sub",
        "maxDailyGB": 2,
        "retentionDays": 7,
        "searchable": True,
        "accessible": True,
        "sharingObjectsAccounts": [],
    }
    status, made = call("POST", TIME_BASED, body)
    is_good = status == 200 and set(made) == {"accountId", "accountToken"}
    check("a sub-account is made with its token", is_good and isinstance(made["accountId"], int), sorted(made))
    one = f"{TIME_BASED}/{made['accountId']}"
    status, shown = call("GET", one)
    kept = status == 200 and all(shown[field] == value for field, value in body.items())
    check("what was said of it is given back", kept, shown)
    status, listed = call("GET", TIME_BASED)
    check("it is listed", status == 200 and [it["accountId"] for it in listed] == [made["accountId"]], listed)
    status, _ = call("PUT", one, {**body, "accountName": "renamed sub", "retentionDays": 9})
    check("PUT of a sub-account is 204", status == 204, status)
    _, shown = call("GET", one)
    is_good = (shown["accountName"], shown["retentionDays"]) == ("renamed sub", 9)
    check("and it is changed", is_good, shown)
    status, api = call("POST", "/v1/api-tokens/sub-account", {"name": "of sub", "accountId": made["accountId"]})
    is_good = status == 200 and set(api) == {"id", "name", "token", "createdAt"} and api["name"] == "of sub"
    check("an API token for the sub-account", is_good, sorted(api))
    status, who = call("GET", "/v2/whoami", token=api["token"])
    check("opens the sub-account", status == 200 and who["accountId"] == made["accountId"], who)
    status, _ = call("GET", TIME_BASED, token=api["token"])
    check("and is no main account's", status == 403, status)
    status, _ = call("POST", "/v1/api-tokens/sub-account", {"name": "of nobody", "accountId": 999999})
    check("an API token for no sub-account is 404", status == 404, status)
    status, answer = call("DELETE", one)
    check("DELETE of a sub-account is 204", (status, answer) == (204, None), status)
    check("and it is gone", call("GET", one)[0] == 404)
    check("and its API token with it", call("GET", "/v2/whoami", token=api["token"])[0] == 403)
    status, _ = call("GET", f"{TIME_BASED}/{me}")
    check("a main account is no sub-account", status == 404, status)


def metrics_accounts(me):
    body = {"email": "m@example.com", "accountName": "compatible metrics", "planUts": 100, "authorizedAccountsIds": [me]}
    status, made = call("POST", METRICS, body)
    is_good = status == 201 and set(made) == METRICS_FIELDS and made["authorizedAccountsIds"] == [me]
    check("a metrics account is 201", is_good and is_millis(made["createdAt"]), sorted(made))
    one = f"{METRICS}/{made['id']}"
    check("it is shown", call("GET", one) == (200, made))
    check("and listed", call("GET", METRICS) == (200, [made]))
    status, _ = call("PUT", one, {"accountName": "renamed metrics", "planUts": 200})
    check("it is changed", status in (200, 204) and call("GET", one)[1]["planUts"] == 200, status)
    status, _ = call("DELETE", one)
    check("and deleted", status in (200, 204) and call("GET", one)[0] == 404, status)


def shared_tokens(me):
    status, wrong = call("POST", FILTERS, {"field": "with blank", "value": "x"})
    check("a filter's field matches its pattern", status == 400, wrong)
    status, wrong = call("POST", FILTERS, {"field": "signal", "value": "a=b"})
    check("and so does its value", status == 400, wrong)
    status, one = call("POST", FILTERS, {"field": "signal", "value": "logs", "description": "logs alone"})
    is_good = status in (200, 201) and set(one) == {"id", "field", "value", "description"}
    check("a filter is made", is_good, one)
    check("shown", call("GET", f"{FILTERS}/{one['id']}") == (200, one))
    check("and listed", call("GET", FILTERS) == (200, [one]))
    made = {}
    for operator in ("OR", "AND"):
        body = {"tokenName": f"by {operator}", "filters": [one["id"]], "filtersOperator": operator}
        status, made = call("POST", SHARED, body)
        is_good = status in (200, 201) and set(made) == SHARED_FIELDS and made["filtersOperator"] == operator
        check(f"a shared token by {operator}", is_good and made["filters"] == [one["id"]], sorted(made))
    week = made["expirationDate"] / 1000 - time.time()
    check("it ends in seven days", abs(week - 7 * 86_400) < 600, week)
    path = f"{SHARED}/{made['id']}"
    check("it is shown", call("GET", path) == (200, made))
    status, listed = call("GET", SHARED)
    check("and listed", status == 200 and [it["name"] for it in listed] == ["by OR", "by AND"])
    for token, expected in ((made["token"], 200), (key, 401)):
        status, _ = call("GET", "/api/v1/shared/usage", token=token)
        check(f"the shared usage answers {expected}", status == expected, status)
    status, _ = call("GET", "/v2/whoami", token=made["token"])
    check("a shared token opens nothing else", status == 403, status)
    status, changed = call("PUT", path, {"tokenName": "renamed", "filters": [], "filtersOperator": "OR"})
    is_good = status == 200 and (changed["name"], changed["filters"]) == ("renamed", [])
    check("it is changed", is_good and changed["filtersOperator"] == "OR")
    check("DELETE of a shared token is 204", call("DELETE", path) == (204, None))
    missing = {"message": f"token with id {made['id']} not found for account {me}"}
    for method in ("GET", "PUT", "DELETE"):
        seen = call(method, path, {"filters": []} if method == "PUT" else None)
        check(f"{method} of a missing shared token is 400", seen == (400, missing), seen)
    call("DELETE", f"{SHARED}/{listed[0]['id']}")
    status, _ = call("DELETE", f"{FILTERS}/{one['id']}")
    check("a filter is deleted", status in (200, 204), status)
    status, _ = call("GET", f"{FILTERS}/{one['id']}")
    check("and gone", status == 400, status)


def audit_trail():
    window = {"fromDate": int((time.time() - 600) * 1000), "toDate": int((time.time() + 600) * 1000)}
    status, trail = call("POST", "/v1/audit-trail", {"from": 0, "size": 500, **window})
    text = json.dumps(trail)
    check("the audit trail is told", status == 200 and "token.create" in text, status)
    check("with users and addresses", "api_token/" in text and "127.0.0.1" in text)
    values = ('"oldValue": "compatible sub"', '"newValue": "renamed sub"')
    check("with old and new values", all(value in text for value in values))
    check("and without a token", "whf_" not in text)
    status, _ = call("POST", "/v1/audit-trail", {"from": 0, "size": 501})
    check("size 501 is refused", status == 400, status)
    status, none = call("POST", "/v1/audit-trail", {"size": 1, "fromDate": 0, "toDate": 1})
    check("nothing happened in 1970", status == 200 and none["results"] == [], none)


def main():
    me = privileges()
    shipping_tokens()
    sub_accounts(me)
    metrics_accounts(me)
    shared_tokens(me)
    audit_trail()
    routes = sorted(route for route in called if "/api/v1/" not in route)
    print(json.dumps({"rows": rows, "routes": routes}))


main()
