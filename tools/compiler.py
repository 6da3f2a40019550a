"""The check for what compiling the dense CRF needs, and the packages that provide it.

It is run by `make` with the Python of .venv, before gigabytes are installed. It uses the standard
library alone: nothing else is installed yet.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

PACKAGES = """\
make: the dense CRF is compiled when it is installed, and there is no {missing}
  Debian, Ubuntu   apt-get install g++ python{python}-dev
  Fedora           dnf install gcc-c++ python{python}-devel
  macOS            xcode-select --install"""


def missing(compiler: str, headers: Path) -> list[str]:
    """Name what is missing, in words.

    Args:
        compiler: The command that compiles C++, possibly with options.
        headers: The folder that should hold Python.h.
    """
    found = []
    command = shlex.split(compiler)[0]
    if not shutil.which(command):
        found.append(f"C++ compiler ({command})")
    if not (headers / "Python.h").is_file():
        found.append(f"{headers / 'Python.h'}")
    return found


def compiler(environment: Mapping[str, str]) -> str:
    """Return the command that builds extensions: CXX if set, else what Python was built with."""
    return environment.get("CXX") or sysconfig.get_config_var("CXX") or "g++"


def main() -> int:
    """Report; the exit status is 1 if anything is missing."""
    lacking = missing(compiler(os.environ), Path(sysconfig.get_path("include")))
    if not lacking:
        return 0
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(PACKAGES.format(missing=" and no ".join(lacking), python=python), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
