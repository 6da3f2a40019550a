"""The modules that each stage of dvc.yaml depends on, from the imports of its module in rca/stages.

    python workflow/dependencies.py       write them into dvc.yaml (`make dependencies`)

A test compares the file with the imports. `rca/runtime/code.py` says what counts and what does not.
"""

from __future__ import annotations

import re
from pathlib import Path

from rca.runtime.code import code_of

ROOT = Path(__file__).parents[1]
PIPELINE = ROOT / "dvc.yaml"


def dependencies(stage: str) -> list[str]:
    """Paths of the code that a stage depends on, from the root and sorted."""
    files = code_of(f"rca.stages.{stage}", ROOT / "rca")
    return [file.relative_to(ROOT).as_posix() for file in files]


def with_dependencies(text: str) -> str:
    """The text of dvc.yaml with every stage's modules as its imports have them.

    A stage's list takes the place of its first line of a file under rca/; a stage without such a
    line has none.
    """
    lines, stage, written = [], "", False
    for line in text.splitlines():
        if heading := re.fullmatch(r"  (\w+):", line):
            stage, written = heading[1], False
        entry = re.fullmatch(r"( +)- rca/\S+", line)
        if not entry:
            lines.append(line)
        elif not written:
            lines += [f"{entry[1]}- {path}" for path in dependencies(stage)]
            written = True
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before = PIPELINE.read_text(encoding="utf-8")
    PIPELINE.write_text(with_dependencies(before), encoding="utf-8")
