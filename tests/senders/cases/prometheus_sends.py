"""Debian's Prometheus scrapes itself and the gateway for a minute and sends remote write into the archive."""

import os
import time

import archive
from prometheus import remote

SCRAPING_SECONDS = float(os.environ.get("SENDERS_PROMETHEUS_SECONDS", "60"))
SECONDS = 300 + int(SCRAPING_SECONDS)


def run(stage):
    gateway = stage.gateway()
    sender = stage.prometheus(
        "sender",
        remote_write=[remote("archive", gateway.url("remote_write", "/"), gateway.token_file("metrics"))],
    )
    sender.scrape([f"127.0.0.1:{sender.port}", f"127.0.0.1:{gateway.ports['operate']}"])
    time.sleep(SCRAPING_SECONDS)
    sender.scrape([])
    counters = sender.drained("archive")
    archived = archive.samples(gateway.data, 1)
    sent = int(counters["samples_total"] - counters["samples_failed_total"])
    is_equal = sent > 0 and sent == len(archived) == len(set(archived))
    detail = f"sent {sent}, archived {len(archived)}, of them different {len(set(archived))}"
    stage.check("Prometheus, remote write", is_equal, detail)
    for counter in ("samples_failed_total", "samples_dropped_total", "samples_retried_total", "samples_pending"):
        stage.check(f"Prometheus' {counter}", counters[counter] == 0, int(counters[counter]))
    metadata = sum("metadata" in line for line in archive.lines(gateway.data, 1, "metrics"))
    stage.check("Prometheus' metadata is archived too", metadata > 0, f"{metadata} lines")
    page = gateway.books(1)["metrics"]
    stage.check("the books say the same", page["delivered"]["items"] == sent, f"delivered {page['delivered']['items']}")
