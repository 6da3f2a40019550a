"""The modules that each stage of dvc.yaml depends on, from the imports of its module in rca/stages.

    python workflow/dependencies.py       write them into dvc.yaml (`make dependencies`)

A test compares the file with the imports. Modules that every stage builds on are left out; the head
of dvc.yaml says why.
"""

from __future__ import annotations

import re
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PIPELINE = ROOT / "dvc.yaml"
GROUND = ("rca.config", "rca.runtime")


def dependencies(stage: str, imports: grimp.ImportGraph) -> list[str]:
    """List the paths of what a stage's module imports, itself included, from the root and sorted.

    Files beside those modules that are not Python, such as templates, are included.
    """
    module = f"rca.stages.{stage}"
    modules = {
        name
        for name in {module} | imports.find_upstream_modules(module)
        if name != "rca"
        and not any(name == ground or name.startswith(f"{ground}.") for ground in GROUND)
        and not imports.find_children(name)
    }
    files = {ROOT / (name.replace(".", "/") + ".py") for name in modules}
    files |= {
        path
        for folder in {file.parent for file in files}
        for path in folder.iterdir()
        if path.is_file() and path.suffix != ".py"
    }
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


def with_dependencies(text: str, imports: grimp.ImportGraph) -> str:
    """Return the text of dvc.yaml with the modules of every stage as its imports have them.

    A stage's list takes the place of its first line with a file under rca/. A stage without such a
    line gets no list.
    """
    lines, stage, written = [], "", False
    for line in text.splitlines():
        if heading := re.fullmatch(r"  (\w+):", line):
            stage, written = heading[1], False
        entry = re.fullmatch(r"( +)- rca/\S+", line)
        if not entry:
            lines.append(line)
        elif not written:
            lines += [f"{entry[1]}- {path}" for path in dependencies(stage, imports)]
            written = True
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    graph = grimp.build_graph("rca", cache_dir=None)
    before = PIPELINE.read_text(encoding="utf-8")
    PIPELINE.write_text(with_dependencies(before, graph), encoding="utf-8")
