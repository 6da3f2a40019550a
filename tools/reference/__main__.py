"""The command that updates what docs/ takes from the code: `make drawings`. Tests fail until then.

Whole pages of the reference are not included; they are generated whenever the site is built.
"""

from __future__ import annotations

from pathlib import Path

from rca.runtime.files import write_text
from tools.records import place_table
from tools.reference import drawings, pipeline

ROOT = Path(__file__).parents[2]
SLURM = Path("docs/guides/slurm.md")
DRAWINGS = {
    Path("docs/pictures/pipeline.svg"): drawings.pipeline_svg,
    Path("docs/pictures/layers.svg"): drawings.layers_svg,
}


def texts() -> dict[Path, str]:
    """Return file → its text as the code has it."""
    page = (ROOT / SLURM).read_text(encoding="utf-8")
    table = place_table(page, "dvc.yaml", pipeline.slurm_table(ROOT))
    return {**{file: draw(ROOT) for file, draw in DRAWINGS.items()}, SLURM: table}


if __name__ == "__main__":
    for file, text in texts().items():
        write_text(ROOT / file, text)
