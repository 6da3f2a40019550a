"""Which code a result depends on: what the module that makes it imports, at once or later.

One answer for all who ask: DVC (`workflow/dependencies.py`), the state of a killed stage, the masks
of `rca predict` and kept views. It is read from the sources and runs none of them, so what a
process happens to have imported plays no part.

The sources must lie as files, as in a checkout or where a wheel is installed, not in a zip; and
modules must be imported by statements, not by names made up at run time, which ruff checks.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# What everything stands on, and no result depends on.
GROUND = (
    "rca/__init__.py",  # only says where the names are that `import rca` offers
    "rca/config/",  # its values decide, and they are compared as such
    # How a stage runs: it writes files whole, shares work out, resumes it and shows progress. What
    # is in the files is the same in one process or in many, at once or resumed, and tests hold it
    # to that; only how JSON is laid out is decided there.
    "rca/runtime/",
)


def code_of(module: str, package: Path = PACKAGE) -> list[Path]:
    """Find the files that a module depends on: its own and, through all imports, the package's.

    Imports inside functions count, and those for type checkers. Importing a module runs the
    packages that it is in, so their `__init__.py` counts if it has code. Files beside the modules
    that are not Python, such as templates, count as well.

    Args:
        module: its full name, `rca.stages.crf`.
        package: the folder of the package `rca`.

    Returns:
        The files, sorted; `GROUND` is not among them, nor what it imports.

    Raises:
        FileNotFoundError: there is no such module.
    """
    found: dict[Path, bool] = {}  # file → whether it has code
    left = [
        *_files(module, package),
        package.parent.joinpath(*module.split(".")).with_suffix(".py"),
    ]
    while left:
        file = left.pop()
        if file in found or _name(file, package).startswith(GROUND):
            continue
        tree = ast.parse(file.read_bytes(), file)
        found[file] = len(tree.body) > (ast.get_docstring(tree) is not None)
        for name in _imports(tree, ".".join(file.parent.relative_to(package.parent).parts)):
            left += _files(name, package)
    code = [file for file, has_code in found.items() if has_code]
    data = [file for folder in {file.parent for file in code} for file in _data(folder)]
    return sorted(code + data)


def code_digest(module: str, package: Path = PACKAGE) -> str:
    """Digest of the names and the contents of the files that a module depends on."""
    digest = hashlib.sha256()
    for file in code_of(module, package):
        content = file.read_bytes()
        digest.update(f"{_name(file, package)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _name(file: Path, package: Path) -> str:
    return file.relative_to(package.parent).as_posix()


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """What a module of `package` imports, each name in full: `rca.labels.crf.dense_crf`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _files(name: str, package: Path) -> Iterator[Path]:
    """The files of the package that an import of `name` runs; none if it is another package's."""
    first, *rest = name.split(".")
    if first != package.name:
        return
    place = package.parent
    for part in (first, *rest):
        place /= part
        yield from filter(Path.is_file, (place / "__init__.py", place.with_suffix(".py")))


def _data(folder: Path) -> Iterator[Path]:
    """The files of a folder that are not Python; those of editors and of the system are left out.

    Their names begin or end with a sign: `.page.html.swp`, `page.html~`.
    """
    for file in folder.iterdir():
        signs = not (file.name[0].isalnum() and file.name[-1].isalnum())
        if file.is_file() and file.suffix not in (".py", ".pyc") and not signs:
            yield file
