"""What deploy/ ships is accepted by the programs that read it."""

import pathlib
import re

from gateway import BINARY


def run(stage):
    done = stage.command(BINARY, "check", stage.root / "deploy" / "wharfinger.toml")
    is_good = done.returncode == 0 and done.stdout.endswith(": ok\n")
    stage.check("wharfinger check deploy/wharfinger.toml", is_good, (done.stdout + done.stderr).strip())
    units = sorted((stage.root / "deploy").glob("*.service"))
    stage.check("there is a systemd unit", units, [unit.name for unit in units])
    for unit in units:
        # The executable is not installed here, so the unit is read with the one that was built.
        copy = stage.folder / unit.name
        copy.write_text(
            re.sub(r"(?m)^(Exec\w+=[-@:+!]*)/\S*/wharfinger\b", rf"\g<1>{pathlib.Path(BINARY)}", unit.read_text())
        )
        done = stage.command("systemd-analyze", "verify", "--man=no", copy)
        said = (done.stdout + done.stderr).strip()
        stage.check(
            f"systemd-analyze verify {unit.name}", done.returncode == 0 and unit.stem not in said, said or "content"
        )
