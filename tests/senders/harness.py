"""Runs cases: each a file in cases/ with `run(stage)`, its own folder and processes, bounded in time."""

import argparse
import collections
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import traceback

from gateway import BINARY, Gateway
from process import Process
from prometheus import Prometheus

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CASE_SECONDS = 300

Row = collections.namedtuple("Row", "case name is_good detail")


class Stage:
    """What a case has: a folder, processes that end with it, and rows that it fills."""

    def __init__(self, case, work):
        self.case = case
        self.work = work
        self.root = ROOT
        self.folder = work / "cases" / case
        self.rows = []
        self._ends = contextlib.ExitStack()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    # === processes ===

    def gateway(self, extra="", name="gateway"):
        """A running wharfinger in a sub-folder."""
        folder = self.folder / name
        folder.mkdir()
        gateway = Gateway(folder, extra)
        self._ends.callback(lambda: gateway.process.is_running() and gateway.stop())
        return gateway

    def prometheus(self, name, **options):
        """A running Prometheus."""
        server = Prometheus(self.folder, self.binaries, name, **options)
        self._ends.callback(server.process.stop)
        return server

    def process(self, name, command, env=None):
        """Any other process."""
        process = Process(self.folder, name, command, env)
        self._ends.callback(process.stop)
        return process

    @property
    def binaries(self):
        """Where prometheus and promtool are."""
        return self.work / "prometheus" / "usr" / "bin"

    def client(self, script, *arguments, seconds=120):
        """Runs one of clients/ to its end; the JSON that it prints last."""
        done = self.command(*self.client_command(script), *arguments, seconds=seconds)
        if done.returncode != 0 or not done.stdout.strip():
            raise RuntimeError(f"{script}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def client_command(self, script):
        """What starts one of clients/."""
        path = HERE / "clients" / script
        if path.suffix == ".mjs":
            # Node finds packages beside the script, so the script is put beside the packages.
            return ["node", shutil.copy(path, self.work / "node")]
        return [sys.executable, path]

    def command(self, *command, seconds=60, text=""):
        """Runs a command to its end with `text` as its input."""
        return subprocess.run(
            [str(part) for part in command],
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=self.folder,
        )

    # === rows ===

    def check(self, name, is_good, detail=""):
        """One row: what was claimed, whether it held, and the figures."""
        row = Row(self.case, name, bool(is_good), str(detail))
        self.rows.append(row)
        print(f"  {'ok  ' if row.is_good else 'FAIL'} {row.name}: {row.detail}", flush=True)

    def sent_equals_archived(self, name, sent, archived):
        """Every item that was sent lies in the archive exactly once, and nothing else does."""
        sent, archived = list(sent), list(archived)
        want, have = collections.Counter(sent), collections.Counter(archived)
        detail = f"sent {len(sent)}, archived {len(archived)}"
        if missing := list((want - have).elements()):
            detail += f"; {len(missing)} missing, such as {missing[0]!r}"
        if surplus := list((have - want).elements()):
            detail += f"; {len(surplus)} too many, such as {surplus[0]!r}"
        is_unique = len(want) == len(sent)
        self.check(name, sent and is_unique and want == have, detail if is_unique else f"{detail}; ids are not unique")

    # === the end ===

    def close(self):
        self._ends.close()


def run_case(path, work):
    """One case's rows; an exception is a failed row, and so is a case without rows."""
    case = path.stem
    spec = importlib.util.spec_from_file_location(f"cases.{case}", path)
    module = importlib.util.module_from_spec(spec)
    print(f"== {case}", flush=True)
    begun = time.monotonic()
    stage = Stage(case, work)
    try:
        spec.loader.exec_module(module)
        print(f"   {module.__doc__.strip()}", flush=True)
        with limited(getattr(module, "SECONDS", CASE_SECONDS)), contextlib.closing(stage):
            module.run(stage)
        if not stage.rows:
            stage.check("runs", False, "no row was checked")
    except Exception as error:  # A case that breaks is counted like one that fails; the others still run.
        traceback.print_exc()
        stage.check("runs to its end", False, f"{type(error).__name__}: {error}".splitlines()[0])
    print(f"   {time.monotonic() - begun:.1f} s", flush=True)
    if all(row.is_good for row in stage.rows):
        shutil.rmtree(stage.folder, ignore_errors=True)
    else:
        print(f"   its files are kept in {stage.folder}", flush=True)
    return stage.rows


@contextlib.contextmanager
def limited(seconds):
    """Raises in here when the time is over."""

    def over(*_):
        raise TimeoutError(f"the case took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()
    # Senders obey these, and everything here is on this machine.
    for name in [
        name for name in os.environ if name.lower().endswith("_proxy") or name.startswith(("OTEL_", "WHARFINGER_"))
    ]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not os.access(BINARY, os.X_OK):
        sys.exit(f"WHARFINGER_BIN={BINARY!r} is not an executable")
    paths = sorted((HERE / "cases").glob("*.py"))
    if unknown := set(arguments.cases) - {path.stem for path in paths}:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    if arguments.cases:
        paths = [path for path in paths if path.stem in arguments.cases]
    rows = [row for path in paths for row in run_case(path, arguments.work.resolve())]
    widths = [max((len(row[at]) for row in rows), default=0) for at in (0, 1)]
    print("\n== summary")
    for row in rows:
        print(f"{'ok  ' if row.is_good else 'FAIL'} {row.case:<{widths[0]}}  {row.name:<{widths[1]}}  {row.detail}")
    failed = sum(not row.is_good for row in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not rows else 0)


if __name__ == "__main__":
    main()
