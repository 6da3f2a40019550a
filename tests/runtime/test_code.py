"""The code that a module depends on: as grimp and as Python have it, and by edits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from rca.runtime.code import GROUND, PACKAGE, code_digest, code_of

STAGES = sorted(path.stem for path in (PACKAGE / "stages").glob("*.py") if path.stem != "__init__")
LOADED = (
    "import sys, {module}\n"
    "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('rca.')))"
)


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("rca", cache_dir=None)


@pytest.fixture
def package(tmp_path) -> Path:
    """A package of a few modules: `made.result` imports some of them, in all the ways there are."""
    files = {
        "__init__.py": "",
        "result.py": "import os, numpy\nfrom made.parts import form, bare as other\n"
        "def later():\n    from made.lazy import function\n",
        "lazy.py": "import made.deep.below",
        "other.py": "",
        "parts/__init__.py": '"""Words only."""\n',
        "parts/form.py": "from . import shape\nfrom ..sibling import name\n",
        "parts/shape.py": "1",
        "parts/bare.py": "1",
        "parts/page.html.j2": "page",
        "parts/.page.html.j2.swp": "",
        "parts/page.html.j2~": "",
        "sibling.py": "from made import result\n",
        "deep/__init__.py": "import made.started",
        "deep/below.py": "1",
        "started.py": "1",
    }
    for name, text in files.items():
        file = tmp_path / "made" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "numpy.py").write_text("1")  # of another package, though it lies beside it
    return tmp_path / "made"


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package `rca`, to edit."""
    return Path(
        shutil.copytree(PACKAGE, tmp_path / "rca", ignore=shutil.ignore_patterns("__pycache__"))
    )


def names(module: str, package: Path = PACKAGE) -> set[str]:
    return {file.relative_to(package.parent).as_posix() for file in code_of(module, package)}


@pytest.mark.parametrize("stage", STAGES)
def test_code_of__agrees_with_grimp(imports, stage):
    module = f"rca.stages.{stage}"
    reached = {module} | imports.find_upstream_modules(module)
    files = {f"{name.replace('.', '/')}.py" for name in reached if not imports.find_children(name)}

    python = {name for name in names(module) if name.endswith(".py")}

    assert python == {name for name in files if not name.startswith(GROUND)}


@pytest.mark.slow
@pytest.mark.parametrize("module", ["rca.stages.train_cam", "rca.inference.folder"])
def test_code_of__holds_all_that_python_loads(module):
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED.format(module=module)],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    paths = {Path(file).relative_to(PACKAGE.parent).as_posix() for file in loaded}

    found = {path for path in paths if not path.startswith(GROUND) and "__init__" not in path}

    assert f"{module.replace('.', '/')}.py" in found and found <= names(module)


def test_code_of__follows_every_kind_of_import_within_the_package(package):
    assert names("made.result", package) == {
        "made/result.py",
        "made/lazy.py",  # imported in a function
        "made/parts/form.py",
        "made/parts/bare.py",  # by another name
        "made/parts/shape.py",  # relative
        "made/sibling.py",  # relative, from the folder above; imports back
        "made/deep/__init__.py",  # runs when a module of its package is imported
        "made/deep/below.py",
        "made/started.py",
        "made/parts/page.html.j2",  # beside a module
    }


def test_code_of__refuses_a_module_that_is_not_there(package):
    with pytest.raises(FileNotFoundError, match=r"gone\.py"):
        code_of("made.gone", package)


def test_code_of__holds_templates_and_no_ground():
    report = names("rca.stages.report")

    assert {"rca/presentation/html/report.html.j2", "rca/data/index.py"} <= report
    assert not [name for name in report if name.startswith(("rca/config", "rca/runtime"))]


@pytest.mark.parametrize(
    ("edited", "stays"),
    [
        ("labels/crf.py", False),  # imported through others
        ("stages/crf.py", False),
        ("labels/__init__.py", False),  # empty until then
        ("evaluation/confusion.py", True),
        ("stages/index.py", True),
        ("config/labels.py", True),
        ("runtime/pool.py", True),
    ],
)
def test_code_digest__changes_with_the_code_that_is_imported_alone(copy, edited, stays):
    before = code_digest("rca.stages.crf", copy)
    with (copy / edited).open("a") as file:
        file.write("\nEDITED = True\n")

    assert (code_digest("rca.stages.crf", copy) == before) == stays


def test_code_digest__is_the_same_wherever_the_package_lies(copy):
    assert code_digest("rca.stages.crf", copy) == code_digest("rca.stages.crf")


def test_code_digest__changes_when_a_file_is_renamed_or_a_template_edited(package):
    digests = [code_digest("made.result", package)]
    (package / "parts/page.html.j2").write_text("another page")
    digests.append(code_digest("made.result", package))
    (package / "parts/page.html.j2").rename(package / "parts/other.html.j2")
    digests.append(code_digest("made.result", package))

    assert len(set(digests)) == 3
