"""A script that knows nothing but the compatible routes' contract drives each of them against a running gateway."""

import json
import urllib.error
import urllib.request

SCOPES = ("read", "tokens", "accounts")


def run(stage):
    gateway = stage.gateway()
    gateway.cli("account", "create", "--name", "acme", "--plan", "pro")
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    made = gateway.cli("api-token", "create", "--account", "acme", "--name", "automation", *scopes)
    token = stage.folder / "api-token"
    token.write_text(made["token"])
    token.chmod(0o600)
    seen = stage.client("compatible.py", gateway.url("admin"), token)
    for claim, is_good, detail in seen["rows"]:
        stage.check(claim, is_good, detail)
    described = routes(gateway)
    missed = sorted(described - set(seen["routes"]))
    stage.check("every described route was called", not missed, f"{len(described)} routes; missed {missed}")
    unknown = sorted(set(seen["routes"]) - described)
    stage.check("every called route is described", not unknown, unknown)
    gateway.cli("account", "set", "acme", "--plan", "community")
    status = whoami(gateway, made["token"])
    stage.check("a plan that ends takes the API token with it", status == 403, status)
    gateway.cli("account", "set", "acme", "--plan", "pro")
    status = whoami(gateway, made["token"])
    stage.check("and one that begins brings it back", status == 200, status)
    verified = gateway.cli("audit", "verify")
    stage.check("the audit log is intact", verified["is_intact"], f"{verified['records']} records")
    code = gateway.stop()
    stage.check("SIGTERM ends with 0", code == 0, f"exit code {code}")
    stage.check("no API token is logged", not is_logged(gateway, made["token"]))


def whoami(gateway, token):
    request = urllib.request.Request(gateway.url("admin", "/v2/whoami"), headers={"X-API-TOKEN": token})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def routes(gateway):
    """Methods and paths of the compatible routes' own description."""
    with urllib.request.urlopen(gateway.url("admin", "/api/v1/compat/openapi.json"), timeout=10) as answer:
        paths = json.load(answer)["paths"]
    return {f"{method.upper()} {path}" for path, item in paths.items() for method in item}


def is_logged(gateway, token):
    return any(token in path.read_text(errors="replace") for path in gateway.folder.glob("wharfinger-*.std*"))
