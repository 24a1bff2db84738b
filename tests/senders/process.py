"""A process of a case: its output in files, ended by its own pid."""

import os
import signal
import subprocess
import time


class Process:
    """Started at once; `stop` says how it ended."""

    def __init__(self, folder, name, command, env=None):
        self.name = name
        self.stdout = folder / f"{name}.stdout"
        self.stderr = folder / f"{name}.stderr"
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                cwd=folder,
            )

    def is_running(self):
        return self.child.poll() is None

    def send(self, number):
        if self.is_running():
            self.child.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=40):
        """Asks it to end and waits; past `seconds` it is killed, which is an error."""
        self.send(number)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise TimeoutError(f"{self.name} did not end within {seconds} s of signal {number}") from None

    def tail(self, lines=20):
        """The end of what it wrote on standard error."""
        return "\n".join(self.stderr.read_text(errors="replace").splitlines()[-lines:])


def wait_for(what, condition, seconds=30, every=0.05):
    """Polls until `condition` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(every)
