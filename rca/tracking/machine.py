"""Which machine made which result: notes outside the results, which must not depend on it.

A result has the same bytes wherever it was made. Its note is therefore stored under the digest of
the file, where any run with those bytes finds it, even one that took them from DVC's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from rca.runtime.files import write_json

NOTES = Path("state/machines")


def processor() -> str:
    """Return the model of the CPU, as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe(*, gpus: bool) -> dict[str, str]:
    """Describe this machine: processor, usable cores, total memory, platform, Python and torch.

    Args:
        gpus: Whether to add the names of the GPUs that torch sees, if there are any.
    """
    facts = {
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }
    if names := _gpus() if gpus else []:
        facts["gpus"] = ", ".join(names)
    return facts


def note(product: Path, facts: dict[str, str], root: Path) -> None:
    """Record below `root` that the machine described by `facts` made the file `product`."""
    write_json(_place(product, root), facts)


def noted(product: Path, root: Path) -> dict[str, str]:
    """Read which machine made the file `product`; empty if no note can be read."""
    try:
        return json.loads(_place(product, root).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # no such product, or no such note, or a damaged one
        return {}


def _place(product: Path, root: Path) -> Path:
    with product.open("rb") as file:
        return root / NOTES / f"{hashlib.file_digest(file, 'sha256').hexdigest()}.json"


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
