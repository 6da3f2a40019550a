"""Which code a result depends on: all that its module imports, at the top or inside functions.

DVC (`workflow/dependencies.py`), the state of a killed stage, the masks of `rca predict` and cached
views all use this one answer. It is read from the source files without importing them, so it does
not matter what a process has already imported.

The sources must be files, as in a checkout or an installed wheel, not inside a zip archive. Modules
must be imported by import statements, not by names built at run time; ruff checks this.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# Foundations that everything uses and no result depends on.
GROUND = (
    "rca/__init__.py",  # only says which modules hold the names that `import rca` offers
    "rca/config/",  # results depend on its values, which are compared themselves
    # How a stage runs: atomic writes, parallel work, resuming and progress. Results are the same
    # from one process or many, uninterrupted or resumed, and tests check that. Of their contents,
    # only the layout of JSON is decided there.
    "rca/runtime/",
)


def code_of(module: str, package: Path = PACKAGE) -> list[Path]:
    """Find the files that a module depends on: its own and, transitively, those that it imports.

    Only the package's files count. Imports inside functions count, and so do those for type
    checkers. Importing a module also runs the packages that contain it, so their `__init__.py`
    counts if it has code. Files beside the modules that are not Python, such as templates, count
    as well.

    Args:
        module: The module's full name, such as `rca.stages.crf`.
        package: The folder of the package `rca`.

    Returns:
        The files, sorted, without those of `GROUND`, whose imports are not followed either.

    Raises:
        FileNotFoundError: There is no such module.
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
    """Compute a digest of the names and contents of the files that a module depends on."""
    digest = hashlib.sha256()
    for file in code_of(module, package):
        content = file.read_bytes()
        digest.update(f"{_name(file, package)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _name(file: Path, package: Path) -> str:
    return file.relative_to(package.parent).as_posix()


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield what a module of `package` imports, each name in full: `rca.labels.crf.dense_crf`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _files(name: str, package: Path) -> Iterator[Path]:
    """Yield the package's files that an import of `name` runs; none if `name` is outside it."""
    first, *rest = name.split(".")
    if first != package.name:
        return
    place = package.parent
    for part in (first, *rest):
        place /= part
        yield from filter(Path.is_file, (place / "__init__.py", place.with_suffix(".py")))


def _data(folder: Path) -> Iterator[Path]:
    """Yield a folder's files that are not Python, except those of editors and of the system.

    The names of these begin or end with a punctuation mark: `.page.html.swp`, `page.html~`.
    """
    for file in folder.iterdir():
        signs = not (file.name[0].isalnum() and file.name[-1].isalnum())
        if file.is_file() and file.suffix not in (".py", ".pyc") and not signs:
            yield file
