"""A real `wharfinger serve` on free ports in a folder of its own."""

import json
import os
import subprocess
import urllib.request

from ports import free_port
from process import Process, wait_for

DOORS = (
    "otlp_grpc",
    "otlp_http",
    "bulk",
    "bulk_tls",
    "remote_write",
    "remote_write_tls",
    "admin",
    "operate",
)
BINARY = os.environ.get("WHARFINGER_BIN", "")
READY_SECONDS = 30


class Gateway:
    """Started and ready; `restart` and `start` use the same data and ports."""

    def __init__(self, folder, extra=""):
        self.folder = folder
        self.data = folder / "data"
        self.ports = {door: free_port() for door in DOORS}
        self.config = folder / "wharfinger.toml"
        listen = "\n".join(f'{door} = "127.0.0.1:{port}"' for door, port in self.ports.items())
        self.config.write_text(f'{extra}\n[listen]\n{listen}\nfeed = ""\n[log]\nformat = "json"\nlevel = "info"\n')
        self.starts = 0
        self.process = None
        self.start()

    def command(self):
        """The command line of `serve`."""
        return [BINARY, "serve", "--config", self.config, "--data", self.data]

    def start(self):
        """Starts it and waits until it says that it is ready."""
        self.starts += 1
        self.process = Process(self.folder, f"wharfinger-{self.starts}", self.command())
        wait_for("wharfinger is ready", self._is_ready, READY_SECONDS)

    def _is_ready(self):
        if not self.process.is_running():
            raise RuntimeError(f"wharfinger ended at its start:\n{self.process.tail()}")
        try:
            return self.operate("/ready")[0] == 200
        except OSError:
            return False

    def stop(self):
        """Drains it; its exit code."""
        code = self.process.stop()
        self.check_output()
        return code

    def restart(self):
        """A graceful end, then a new start."""
        code = self.stop()
        if code != 0:
            raise RuntimeError(f"wharfinger ended with {code} after SIGTERM:\n{self.process.tail()}")
        self.start()

    def check_output(self):
        """No panic, and no token, in anything that it printed or logged."""
        secrets = [path.read_text().strip() for path in (self.data / "tokens").glob("*")]
        for path in self.folder.glob("wharfinger-*.std*"):
            text = path.read_text(errors="replace")
            if "panicked" in text:
                raise RuntimeError(f"{path} tells of a panic")
            if any(secret in text for secret in secrets if secret):
                raise RuntimeError(f"{path} has a token in it")

    # === where and with what ===

    def url(self, door, path="", host="127.0.0.1"):
        scheme = "https" if door.endswith("_tls") else "http"
        return f"{scheme}://{host}:{self.ports[door]}{path}"

    def token_file(self, signal):
        """The file of account `main`'s first token for a signal."""
        return self.data / "tokens" / f"main-{signal}"

    def token(self, signal):
        return self.token_file(signal).read_text().strip()

    def cli(self, *arguments):
        """A command against the admin API; what it prints with `--json`."""
        done = subprocess.run(
            [BINARY, *arguments, "--json", "--url", self.url("admin"), "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise RuntimeError(f"wharfinger {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def new_token(self, account, signal):
        """Another shipping token: `id` and `token`, enforced when this returns."""
        return self.cli("token", "create", "--account", account, "--signal", signal, "--name", "senders", "--wait")

    # === the operators' port ===

    def operate(self, path):
        """Status and text of an operators' page."""
        try:
            with urllib.request.urlopen(self.url("operate", path), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def books(self, account):
        """An account's books by signal, settled: nothing is in flight."""
        return wait_for(f"the books of account {account} are settled", lambda: self._settled(account), 60)

    def _settled(self, account):
        status, text = self.operate(f"/books/{account}")
        if status != 200:
            raise RuntimeError(f"/books/{account}: {status} {text}")
        signals = json.loads(text)["signals"]
        is_settled = all(page["in_flight"] == {"items": 0, "bytes": 0} for page in signals.values())
        return signals if is_settled else None
