"""The command that tags the current commit as a release, once everything agrees: `make release`.

It checks the version in pyproject.toml, CHANGELOG.md, the lock and the tags against each other,
builds the wheel into dist/, and tags the commit. It pushes nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version(pyproject: str) -> str:
    """Return the version that the text of pyproject.toml states."""
    return tomllib.loads(pyproject)["project"]["version"]


def faults(release: str, changelog: str, tags: Sequence[str], changed: str) -> list[str]:
    """List why `release` cannot be tagged, a line each; nothing if it can.

    Args:
        release: The version that pyproject.toml states.
        changelog: The text of CHANGELOG.md.
        tags: The tags that exist.
        changed: The files that differ from the commit, as `git status --porcelain` lists them.
    """
    heading = rf"^## \[{re.escape(release)}\] - \d{{4}}-\d\d-\d\d$"
    found = []
    if changed:
        found.append(f"files differ from the commit; commit them first:\n{changed.rstrip()}")
    if f"v{release}" in tags:
        found.append(f"v{release} is tagged already; raise the version in pyproject.toml")
    if not re.search(heading, changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading `## [{release}] - YYYY-MM-DD`")
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Check, build and tag."""
    release = version((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    tags, changed = _output("git", "tag").split(), _output("git", "status", "--porcelain")
    if found := faults(release, changelog, tags, changed):
        print("release:", "\nrelease: ".join(found), file=sys.stderr)
        return 1
    if subprocess.run(["uv", "lock", "--check", "--quiet"], cwd=ROOT).returncode:
        print("release: uv.lock does not belong to pyproject.toml: make lock", file=sys.stderr)
        return 1
    subprocess.run(["uv", "build", "--quiet", "--wheel"], cwd=ROOT, check=True)
    _output("git", "tag", "--annotate", f"v{release}", "--message", f"Release {release}")
    print(f"v{release} is tagged, its wheel is in dist/. To publish: git push origin v{release}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
