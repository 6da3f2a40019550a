"""The parts of page `Python`: what `import rca` offers, and the functions of the method."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path


def interface(_: Path) -> str:
    """List what `rca` exports, for autodoc to read."""
    import rca

    parts = []
    for name in sorted(rca.__all__, key=str.swapcase):  # functions before classes
        is_class = not name.islower()
        parts.append(f".. auto{'class' if is_class else 'function'}:: rca.{name}")
        parts += ["   :members:", "   :inherited-members:"] if is_class else []
    return "\n".join(["```{eval-rst}", *parts, "```"])


def method(_: Path) -> str:
    """List the modules of `rca.method`, with the functions and classes of each."""
    package = import_module("rca.method")
    parts = []
    for module in pkgutil.iter_modules(package.__path__, "rca.method."):
        directive = f".. automodule:: {module.name}\n   :members:"
        parts.append(f"### `{module.name}`\n\n```{{eval-rst}}\n{directive}\n```")
    return "\n\n".join(parts)
