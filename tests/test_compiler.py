"""What `make` says where the dense CRF cannot be compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import compiler

ROOT = Path(__file__).parents[1]


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/compiler.py"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def headers(tmp_path) -> Path:
    (tmp_path / "Python.h").touch()
    return tmp_path


def test_missing__nothing(headers):
    assert compiler.missing(f"{sys.executable} -pthread", headers) == []


def test_missing__compiler_and_headers(headers, tmp_path):
    nowhere = tmp_path / "nowhere"
    assert compiler.missing("no-such-compiler -pthread", headers) == [
        "C++ compiler (no-such-compiler)"
    ]
    assert compiler.missing(sys.executable, nowhere) == [f"{nowhere / 'Python.h'}"]


def test_script__names_the_packages_of_each_system(tmp_path):
    ended = run(CXX="no-such-compiler", PATH=str(tmp_path))

    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert ended.returncode == 1
    assert "no C++ compiler (no-such-compiler)" in ended.stderr
    for command in (f"apt-get install g++ {python}-dev", f"{python}-devel", "xcode-select"):
        assert command in ended.stderr


def test_script__is_silent_where_this_environment_was_compiled():
    ended = run(CXX=sys.executable, PATH="")

    assert (ended.returncode, ended.stderr) == (0, "")
