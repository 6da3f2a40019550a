"""What dvc.yaml says of the stages: their outputs, their requests to a cluster, and their order."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.reference.markdown import escaped, table

Stage = Mapping[str, Any]


def stages(root: Path) -> dict[str, Stage]:
    """Read the stages of dvc.yaml in order; for one with items, what all items share."""
    entries = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: entry.get("do", entry) for name, entry in entries.items()}


def outputs(stage: Stage) -> list[str]:
    """List the paths that a stage writes, as dvc.yaml has them."""
    entries = [item for kind in ("outs", "metrics", "plots") for item in stage.get(kind, ())]
    return [item if isinstance(item, str) else next(iter(item)) for item in entries]


def outputs_page(root: Path) -> str:
    """List for each stage the paths that it writes, and what its module says is in them."""
    parts = []
    for name, stage in stages(root).items():
        paths = "\n".join(f"- `{readable(path)}`" for path in outputs(stage))
        said = map(escaped, _says_of_itself(_module(root, name)))
        parts += [f"### `{name}`", f"{stage['desc']}.", paths, *said]
    return "\n\n".join(parts)


def readable(path: str) -> str:
    """Write the placeholders in a path of dvc.yaml as a reader would."""
    key = "round" if "/relabel/" in path else "supervision"
    return re.sub(r"\$\{(?:(key)|[\w.]+\.)?(\w*)\}", lambda f: f"<{f[2] or key}>", path)


def _module(root: Path, stage: str) -> Path:
    """Find the module of a stage, wherever it is in the package of the stages."""
    (module,) = (root / "rca/stages").rglob(f"{stage}.py")
    return module


def _says_of_itself(module: Path) -> Iterator[str]:
    """Yield from the docstring of a stage's `run` what the stage does, and what `out` gets."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    runs = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    text = inspect.cleandoc(ast.get_docstring(runs[0]) or "")
    yield re.split(r"\n\n(?:Args|Raises|Returns):", text)[0].replace("`cfg`", "the configuration")
    # Up to the next argument: lines that continue one are indented by four more.
    if found := re.search(
        r"^    out: The folder that (gets .*(?:\n        .*)*)", text, re.MULTILINE
    ):
        yield f"The folder {' '.join(found[1].split())}"


def slurm_table(root: Path) -> str:
    """Tabulate what each stage requests from a cluster, without those that run beside Snakemake."""
    asked = {name: stage["meta"] for name, stage in stages(root).items() if "meta" in stage}
    rows = [_request(name, meta["slurm"], "shards" in meta) for name, meta in asked.items()]
    return table(["stage", "GPUs", "cores", "memory", "time"], rows) + "\n"


def _request(name: str, slurm: Mapping[str, Any], shared: bool) -> list[str]:
    gpus = _value(slurm.get("gpu", ""))
    if "nodes" in slurm:
        gpus += f" on each of {_value(slurm['nodes'])}"
    several = "nodes" in slurm
    a_gpu = " a GPU" if several else ""
    return [
        f"`{name}`" + (", each shard" if shared else ""),
        gpus,
        _value(slurm.get("cpus_per_task", 1)) + a_gpu,
        f"{slurm['mem_mb'] // 1000} GB{a_gpu}",
        f"{slurm['runtime'] // 60} h",
    ]


def _value(value: object) -> str:
    found = re.fullmatch(r"\$\{([\w.]+)\}", str(value))
    return f"`{found[1]}`" if found else str(value)


def needs(root: Path, params: Mapping[str, Any]) -> dict[str, set[str]]:
    """Map each stage, items apart, to the stages that it reads from, with these parameters.

    A stage that is reached through another anyway is left out.
    """
    resolved = dict(_resolved(root, params))
    direct = {
        name: {
            other
            for other, source in resolved.items()
            if other != name and any(_meets(dep, out) for dep in stage[0] for out in source[1])
        }
        for name, stage in resolved.items()
    }

    def reached(name: str) -> set[str]:
        return direct[name].union(*(reached(other) for other in direct[name]))

    return {
        name: needed - set().union(*(reached(other) for other in needed))
        for name, needed in direct.items()
    }


def _resolved(
    root: Path, params: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[list[str], list[str]]]]:
    """Yield every stage and item with the paths that it reads and writes, without placeholders."""
    entries = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, entry in entries.items():
        if "foreach" not in entry:
            yield name, _paths(entry, params)
            continue
        items = _at(params, entry["foreach"].strip("${}"))
        for key, item in items.items():
            yield f"{name}@{key}", _paths(entry["do"], {**params, "key": key, "item": item})


def _paths(stage: Stage, values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    def filled(path: str) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda found: str(_at(values, found[1])), path)

    return [filled(path) for path in stage.get("deps", ())], [filled(p) for p in outputs(stage)]


def _at(values: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _meets(dep: str, out: str) -> bool:
    return dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")
