"""The modules that each stage of dvc.yaml depends on, from the imports of its module in rca/stages.

    python workflow/dependencies.py       write them into dvc.yaml (`make dependencies`)

A test compares dvc.yaml with the imports. `rca/runtime/code.py` says what counts and what does not.
"""

from __future__ import annotations

import re
from pathlib import Path

from rca.runtime.code import code_of

ROOT = Path(__file__).parents[1]
PIPELINE = ROOT / "dvc.yaml"


def dependencies(stage: str) -> list[str]:
    """List the code files that a stage depends on, sorted, as paths relative to the root."""
    files = code_of(f"rca.stages.{stage}", ROOT / "rca")
    return [file.relative_to(ROOT).as_posix() for file in files]


def with_dependencies(text: str) -> str:
    """Return the text of dvc.yaml with every stage's list of modules brought up to date.

    The list replaces a stage's lines that name files under rca/, where the first of them was. A
    stage without such a line gets no list.
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
