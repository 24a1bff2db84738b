"""Senders across kill -9: what was acknowledged is in the archive, whatever was being written."""

import collections
import functools
import json

import archive
from process import wait_for

COUNT = 1500
CRASHES = 5


def run(stage):
    gateway = stage.gateway()
    arguments = [gateway.url("bulk"), gateway.url("otlp_http"), gateway.token_file("logs"), COUNT]
    sender = stage.process("steady", stage.client_command("steady.py") + arguments)
    for crash in range(1, CRASHES + 1):
        wait_for(f"enough for crash {crash} is archived", functools.partial(has, gateway, crash * 300), 90)
        gateway.process.child.kill()
        gateway.process.child.wait()
        gateway.start()
    code = sender.child.wait(120)
    stage.check("the senders gave nothing up", code == 0, f"exit code {code}, {sender.tail(3)}")
    sent = set(json.loads(sender.stdout.read_text().splitlines()[-1])) if code == 0 else set()
    archived = collections.Counter(archive.logs(gateway.data, 1))
    missing, strange = sent - set(archived), set(archived) - sent
    twice = sum(count - 1 for count in archived.values())
    detail = f"sent {len(sent)}, archived {len(archived)}, {len(missing)} missing, {twice} sent again and there twice"
    stage.check(f"two senders across {CRASHES} crashes", sent and not missing and not strange, detail)


def has(gateway, count):
    return len(archive.logs(gateway.data, 1)) >= count
