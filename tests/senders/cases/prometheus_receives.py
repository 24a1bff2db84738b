"""Prometheus behind the gateway as an account's destination receives what Prometheus before it sends."""

import os
import time

from prometheus import remote

SCRAPING_SECONDS = float(os.environ.get("SENDERS_PROMETHEUS_SECONDS", "60"))
SECONDS = 300 + int(SCRAPING_SECONDS)


def run(stage):
    gateway = stage.gateway()
    receiver = stage.prometheus("receiver", receives=True)
    gateway.cli(
        "destination", "create", "--name", "receiver", "--kind", "http",
        "--endpoint", receiver.url("/api/v1/write"),
    )  # fmt: skip
    account = gateway.cli("account", "create", "--name", "forwarded", "--destination", "metrics=receiver", "--wait")
    token_file = stage.folder / "forwarded.token"
    token_file.write_text(gateway.new_token("forwarded", "metrics")["token"])
    sender = stage.prometheus(
        "sender", remote_write=[remote("through", gateway.url("remote_write", "/api/v1/write"), token_file)]
    )
    sender.scrape([f"127.0.0.1:{sender.port}", f"127.0.0.1:{gateway.ports['operate']}"])
    time.sleep(SCRAPING_SECONDS)
    sender.scrape([])
    counters = sender.drained("through")
    sent = int(counters["samples_total"] - counters["samples_failed_total"])
    # The receiver scrapes nothing: all that its head ever took came through the gateway.
    received = int(receiver.metric("prometheus_tsdb_head_samples_appended_total"))
    stage.check("Prometheus through the gateway", sent == received > 0, f"sent {sent}, received {received}")
    stage.check("nothing failed", counters["samples_failed_total"] == 0, int(counters["samples_failed_total"]))
    at_sender = sender.samples('{job="senders"}')
    at_receiver = receiver.samples('{job="senders", sender="sender"}', without=("sender",))
    detail = f"{len(at_receiver)} series of {len(at_sender)}, {sum(map(len, at_receiver.values()))} samples"
    stage.check("the receiver is asked and has every value", at_sender == at_receiver != {}, detail)
    page = gateway.books(account["id"])["metrics"]
    stage.check("the books say the same", page["delivered"]["items"] == sent, f"delivered {page['delivered']['items']}")
