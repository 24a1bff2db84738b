"""Senders across graceful restarts: what was sent is in the archive, each item once."""

import functools
import json
import subprocess

from process import wait_for

COUNT = 1500
RESTARTS = 3


def run(stage):
    gateway = stage.gateway()
    arguments = [gateway.url("bulk"), gateway.url("otlp_http"), gateway.token_file("logs"), COUNT]
    sender = stage.process("steady", stage.client_command("steady.py") + arguments)
    for restart in range(1, RESTARTS + 1):
        is_there = functools.partial(has, gateway, restart * COUNT // (RESTARTS + 2))
        wait_for(f"enough for restart {restart} is archived", is_there, 90)
        gateway.restart()
    code = wait_code(sender)
    sent = json.loads(sender.stdout.read_text().splitlines()[-1]) if code == 0 else []
    stage.sent_equals_archived(f"two senders across {RESTARTS} restarts", sent, numbers(gateway))


def has(gateway, count):
    return len(numbers(gateway)) >= count


def wait_code(sender):
    try:
        return sender.child.wait(120)
    except subprocess.TimeoutExpired:
        raise TimeoutError("the sender did not end") from None


def numbers(gateway):
    """Bulk lines by number, OTLP records by body. The last line may be in the writing: it is not counted."""
    found = []
    folder = gateway.data / "gateway" / "archive" / "1" / "logs"
    for path in sorted(folder.glob("*.jsonl")):
        for text in path.read_bytes().splitlines(keepends=True):
            if not text.endswith(b"\n"):
                continue
            line = json.loads(text)
            if "n" in line:
                found.append(f"line {line['n']}")
            else:
                found += [
                    record["body"]["stringValue"]
                    for resource in line["resourceLogs"]
                    for scope in resource["scopeLogs"]
                    for record in scope["logRecords"]
                ]
    return found
