"""Draw a run on a terminal, for the README; `make picture`.

python -m tools.terminal_picture                 run `debug` in a copy of this checkout
python -m tools.terminal_picture --preset NAME   another preset

The terminal has no control sequences, so that bars, which disappear, are not in the picture.
Durations are left out, so that two runs with the same scores give the same picture.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rca.runtime.files import write_text
from tools.checkout import ROOT, copy_checkout

PICTURE = ROOT / "docs/pictures/terminal.svg"
COLUMNS = 100
HOME = "/home/you/rca"  # shown in place of the copy's folder
DURATION = re.compile(r" \((?:\d+ (?:h|min|s) ?)+\)$", re.MULTILINE)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STYLES = {r"^✓": "green", r"^\$ .*": "bold"}  # as on a terminal with colours


def run(preset: str, folder: Path) -> str:
    """Run Snakemake with a preset in a copy in `folder`; return what it leaves on a terminal.

    Raises:
        CalledProcessError: the run failed.
    """
    copy_checkout(folder, ("docs/", "tests/", "dvc.lock"))
    (folder / "params.yaml").write_bytes((ROOT / f"configs/{preset}.yaml").read_bytes())
    (folder / ".venv").symlink_to(sys.prefix)
    environment = {
        **os.environ,
        "PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
        "TERM": "dumb",
    }
    # Called by this path, Python uses the copy's environment, as in a checkout.
    command = [str(folder / ".venv/bin/python"), "-m", "snakemake", "--cores", "all"]
    text, status = on_terminal(command, folder, environment)
    if status:
        raise subprocess.CalledProcessError(status, command, text)
    shown = left(text).replace(str(folder), HOME)
    return f"$ rca use {preset}\n$ snakemake --cores all\n{shown}"


def on_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[str, int]:
    """Run a command in a pseudo-terminal; return all of its output, and its exit status."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:  # the command has ended
            break
    os.close(ours)
    return said.decode("utf-8", "replace"), process.wait()


def left(text: str) -> str:
    """Return what of `text` stays on the screen, if the cursor moves only within its line."""
    # Overwritten text is gone, and so is a line that held nothing else.
    lines = CONTROL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines if not line.endswith("\r"))


def svg(text: str) -> str:
    """Draw a terminal window with the text, as SVG."""
    page = Console(record=True, width=COLUMNS, file=io.StringIO())
    text = re.sub(r"\n{3,}", "\n\n", text)  # a blank line stands for bars that it cannot draw
    shown = Text(DURATION.sub("", f"{text.rstrip()}\n"))
    for pattern, style in STYLES.items():
        shown.highlight_regex(re.compile(pattern, re.MULTILINE), style)
    page.print(shown)
    picture = page.export_svg(title="rca", unique_id="rca")
    # Use the reader's own font, and load none from the network.
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    return picture.replace("Fira Code,", "").replace("Fira Code, ", "")


def main() -> None:
    """Run a preset, and write the picture."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--preset", default="debug", help="a file in configs/ (debug)")
    options.add_argument("--out", type=Path, default=PICTURE)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="terminal-") as folder:
        text = run(chosen.preset, Path(folder).resolve())
    write_text(chosen.out, svg(text))
    print(f"{chosen.out} drawn")


if __name__ == "__main__":
    main()
