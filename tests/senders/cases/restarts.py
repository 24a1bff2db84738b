"""Senders across graceful restarts: what was sent is in the archive, each item once."""

import functools
import json
import subprocess

import archive
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
    stage.sent_equals_archived(f"two senders across {RESTARTS} restarts", sent, archive.logs(gateway.data, 1))


def has(gateway, count):
    return len(archive.logs(gateway.data, 1)) >= count


def wait_code(sender):
    try:
        return sender.child.wait(120)
    except subprocess.TimeoutExpired:
        raise TimeoutError("the sender did not end") from None
