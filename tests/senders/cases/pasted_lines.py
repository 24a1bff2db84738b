"""The lines that a first start prints work as they stand; a second start finds everything; mistakes end with 2."""

import pathlib
import re
import socket

import archive
from gateway import BINARY
from process import wait_for

SIGNALS = ("logs", "metrics", "traces")


def run(stage):
    gateway = stage.gateway()
    for start in ("first", "second"):
        printed = welcome(gateway)
        pasted = [line.strip() for line in printed.splitlines() if line.strip().startswith("curl ")]
        stage.check(f"{start} start prints a line for each signal", len(pasted) == 3, f"{len(pasted)} lines")
        tokens = [gateway.token(signal) for signal in SIGNALS]
        folder = re.search(r"(?m)^What arrives lies in (.*), a folder per signal", printed)
        is_there = folder and pathlib.Path(folder[1]) == (gateway.data / "gateway" / "archive" / "1").resolve()
        stage.check(f"{start} start says where it lies", is_there, folder and folder[1])
        stage.check(f"{start} start prints no token", not any(token in printed for token in tokens))
        for line in pasted:
            before = {signal: len(list(archive.lines(gateway.data, 1, signal))) for signal in SIGNALS}
            done = stage.command("bash", "-c", line)
            status = done.stdout.splitlines()[0] if done.stdout else done.stderr
            signal = next((name for name in SIGNALS if f"main-{name}" in line), "?")
            after = {signal: len(list(archive.lines(gateway.data, 1, signal))) for signal in SIGNALS}
            grown = {name: after[name] - before[name] for name in SIGNALS if after[name] != before[name]}
            stage.check(
                f"{start} start's pasted line for {signal}",
                status.split()[1:2] == ["200"] and grown == {signal: 1},
                f"{status}, archived {grown}",
            )
        if start == "first":
            gateway.restart()
            stage.check("the second start finds the tokens", tokens == [gateway.token(signal) for signal in SIGNALS])
    hellos = archive.bulk(gateway.data, 1, "message")
    stage.check("both starts' log lines are there", hellos == ["hello", "hello"], hellos)
    code = gateway.stop()
    stage.check("SIGTERM ends with 0", code == 0, f"exit code {code}")
    refuses_what_cannot_be(stage, gateway)


def welcome(gateway):
    """What a start prints, whole: it may be ready a moment before it has said so."""

    def printed():
        text = gateway.process.stdout.read_text()
        return text if "Operators: " in text else None

    return wait_for("the welcome is printed", printed, 10)


def refuses_what_cannot_be(stage, gateway):
    """Each mistake is one clear sentence on standard error and exit code 2."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", gateway.ports["bulk"]))
        taken.listen()
        is_refused(stage, "a taken port", gateway.command(), str(gateway.ports["bulk"]))
    file = stage.folder / "a-file"
    file.write_text("")
    is_refused(
        stage, "a data folder that is a file", [BINARY, "serve", "--config", gateway.config, "--data", file], "a-file"
    )
    bad = stage.folder / "bad.toml"
    bad.write_text('[listen]\nbulk = "nowhere"\n')
    is_refused(stage, "a bad value", [BINARY, "--config", bad, "--data", stage.folder / "unused"], "listen.bulk")


def is_refused(stage, what, command, word):
    done = stage.command(*command)
    lines = done.stderr.strip().splitlines()
    is_good = done.returncode == 2 and len(lines) == 1 and word in lines[0] and not done.stdout
    stage.check(
        f"{what} is one sentence and exit code 2", is_good, f"exit code {done.returncode}: {done.stderr.strip()}"
    )
