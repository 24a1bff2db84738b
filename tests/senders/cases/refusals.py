"""Real clients that send 1 MiB and are refused, for their token or for their body, see why, 100 times of 100."""

import collections
import json

COUNT = 100
BODY_BYTES = 1 << 20
UNKNOWN = "sendersSendersSendersSendersSend"


def run(stage):
    gateway = stage.gateway()
    revoked = gateway.new_token("main", "logs")
    gateway.cli("token", "revoke", str(revoked["id"]), "--wait")
    line = json.dumps({"message": "x" * 1000}) + "\n"
    body = stage.folder / "body"
    body.write_text((line * (BODY_BYTES // len(line) + 1))[:BODY_BYTES])
    bulk, otlp = gateway.url("bulk", "/"), gateway.url("otlp_http", "/v1/logs")
    for script, library in (
        ("refused.py", "urllib"),
        ("refused.py", "requests"),
        ("refused.py", "session"),
        ("refused.mjs", "http"),
        ("refused.mjs", "fetch"),
    ):
        sees_401(stage, f"{library}, unknown token", stage.client(script, library, bulk, UNKNOWN, body, COUNT))
        sees_401(stage, f"{library}, revoked token", stage.client(script, library, otlp, revoked["token"], body, COUNT))
    for version in ("--http1.1", "--http2-prior-knowledge"):
        sees_401(stage, f"curl {version}, unknown token", by_curl(stage, version, bulk, UNKNOWN, body))
        sees_401(stage, f"curl {version}, revoked token", by_curl(stage, version, otlp, revoked["token"], body))
        # Refused in the middle of the body: its beginning is no gzip, and what has no length grows past the ceiling.
        good = gateway.token("logs")
        is_gzip = ("--header", "Content-Encoding: gzip")
        sees(stage, f"curl {version}, a body that is no gzip", "400", by_curl(stage, version, bulk, good, body, is_gzip))
        large = stage.folder / "large"
        large.write_bytes(body.read_bytes() * 12)
        unknown_length = ("--header", "Content-Length:", "--header", "Transfer-Encoding: chunked")
        if version == "--http2-prior-knowledge":
            unknown_length = ("--header", "Content-Length:")
        outcomes = by_curl(stage, version, bulk, good, large, unknown_length)
        sees(stage, f"curl {version}, a body that grows too large", "413", outcomes)
    address = f"127.0.0.1:{gateway.ports['otlp_grpc']}"
    for kind, token in (("unknown", UNKNOWN), ("revoked", revoked["token"])):
        outcomes = stage.client("refused_grpc.py", address, token, body, COUNT)
        is_seen = outcomes == {"UNAUTHENTICATED": COUNT}
        stage.check(f"grpc, {kind} token sees UNAUTHENTICATED", is_seen, dict(outcomes))
    sees_401(stage, "curl --http1.1 in one connection", by_curl(stage, "--http1.1", bulk, UNKNOWN, body, processes=1))


def sees_401(stage, name, outcomes):
    sees(stage, name, "401", outcomes)


def sees(stage, name, status, outcomes):
    stage.check(f"{name} sees {status}", outcomes == {status: COUNT}, dict(outcomes))


def by_curl(stage, version, url, token, body, options=(), processes=COUNT):
    """COUNT posts by as many curls, or by fewer that keep their connection if they may."""
    outcomes = collections.Counter()
    post = [
        "--request", "POST", "--data-binary", f"@{body}", "--header", f"Authorization: Bearer {token}",
        "--header", "Content-Type: application/json", "--header", "Expect:", "--output", "/dev/null",
        "--write-out", "%{http_code} %{exitcode}\\n", *options, url,
    ]  # fmt: skip
    for _ in range(processes):
        several = []
        for index in range(COUNT // processes):
            several += (["--next"] if index else []) + ["--silent", "--max-time", "20", version, *post]
        done = stage.command("curl", *several, seconds=300)
        for seen in done.stdout.splitlines():
            outcomes[seen.removesuffix(" 0")] += 1
    return outcomes
