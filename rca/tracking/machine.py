"""Which machine made what: a note beside the results, for nothing in them may depend on it.

A result is the same bytes wherever it was made. So a note lies under the digest of what it is of,
where any run with these bytes finds it, also one that took them from DVC's cache.
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
    """The model of the CPU, as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe(*, gpus: bool) -> dict[str, str]:
    """This machine: processor, cores it lets us use, memory in all, platform, Python and torch.

    With `gpus` also the names of those that torch sees, if it sees any.
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
    """Keep below `root` that the machine of `facts` made the file `product`."""
    write_json(_place(product, root), facts)


def noted(product: Path, root: Path) -> dict[str, str]:
    """The machine that made the file `product`; nothing where none is noted."""
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
