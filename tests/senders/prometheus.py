"""Debian's Prometheus: scrapes, sends remote write, receives it."""

import json
import re
import urllib.parse
import urllib.request

from ports import free_port
from process import Process, wait_for

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Prometheus:
    """Started and ready."""

    def __init__(self, folder, binaries, name, remote_write=(), receives=False):
        self.folder = folder
        self.name = name
        self.port = free_port()
        self.remote_write = list(remote_write)
        self.config = folder / f"{name}.yml"
        self._write([])
        command = [
            binaries / "prometheus",
            f"--config.file={self.config}",
            f"--storage.tsdb.path={folder / name}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            "--log.level=info",
        ]
        if receives:
            command.append("--web.enable-remote-write-receiver")
        self.process = Process(folder, name, command)
        wait_for(f"{name} is ready", self._is_ready, 60)

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}{path}"

    def scrape(self, targets):
        """Scrapes these `host:port` every second from now on; none: ends scraping, the remote write queue goes on."""
        self._write(targets)
        request = urllib.request.Request(self.url("/-/reload"), method="POST")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        with urllib.request.urlopen(self.url("/metrics"), timeout=10) as answer:
            text = answer.read().decode()
        total, is_found = 0.0, False
        for line in text.splitlines():
            sample = _SAMPLE.match(line)
            if sample and sample[1] == name:
                found = dict(_LABEL.findall(sample[2] or ""))
                if all(found.get(key) == value for key, value in labels.items()):
                    total, is_found = total + float(sample[3]), True
        if not is_found:
            raise KeyError(f"{self.name} has no metric {name}{labels}")
        return total

    def samples(self, selector, without=()):
        """Every sample of the last hour as it is stored: series (as sorted JSON, less some labels) to values."""
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": f"{selector}[1h]"})
        with urllib.request.urlopen(self.url(path), timeout=60) as answer:
            result = json.load(answer)["data"]["result"]
        series = {}
        for item in result:
            labels = {key: value for key, value in item["metric"].items() if key not in without}
            series[json.dumps(labels, sort_keys=True)] = item["values"]
        return series

    def drained(self, remote):
        """Waits until a remote write queue has sent all it has; its counters."""
        last = None

        def is_still():
            nonlocal last
            now = {
                key: self.metric(f"prometheus_remote_storage_{key}", remote_name=remote)
                for key in (
                    "samples_total",
                    "samples_failed_total",
                    "samples_dropped_total",
                    "samples_retried_total",
                    "samples_pending",
                    "histograms_total",
                    "exemplars_total",
                )
            }
            now["samples_in_total"] = self.metric("prometheus_remote_storage_samples_in_total")
            done = now["samples_total"] + now["samples_dropped_total"]
            is_done = now["samples_pending"] == 0 and done >= now["samples_in_total"] and now == last
            last = now
            return now if is_done else None

        # Stale markers follow the end of scraping by two intervals: equal counters a second apart are not enough.
        for _ in range(3):
            counters = wait_for(f"{self.name} has sent all to {remote}", is_still, 90, every=1.5)
        return counters

    def _is_ready(self):
        if not self.process.is_running():
            raise RuntimeError(f"{self.name} ended at its start:\n{self.process.tail()}")
        try:
            with urllib.request.urlopen(self.url("/-/ready"), timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _write(self, targets):
        jobs = [{"job_name": "senders", "scrape_interval": "1s", "static_configs": [{"targets": targets}]}]
        config = {
            "global": {"scrape_interval": "1s", "external_labels": {"sender": self.name}},
            "remote_write": self.remote_write,
        }
        if targets:
            config["scrape_configs"] = jobs
        # JSON is YAML.
        self.config.write_text(json.dumps(config, indent=1))


def remote(name, url, token_file):
    """A `remote_write` entry with a token."""
    return {
        "name": name,
        "url": url,
        "authorization": {"type": "Bearer", "credentials_file": str(token_file)},
        # Metadata in requests of its own, more often than the default of a minute.
        "metadata_config": {"send": True, "send_interval": "5s"},
    }
