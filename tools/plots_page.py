"""A page template for `dvc plots` that needs no network.

    python -m tools.plots_page .dvc/plots/offline.html
    dvc config --local plots.html_template plots/offline.html

DVC's own loads Vega from a content delivery network. Snakemake has Vega among its files, for its
report; this puts it into the template.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from rca.runtime.files import write_text

PARTS = ("vega", "vega-lite", "vega-embed")  # each builds on those before it
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>DVC plots</title>
<script>
%s
</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def page() -> str:
    """The template, with DVC's places for the charts and no place for its scripts."""
    data = files("snakemake") / "assets" / "data"
    scripts = [(data / part / f"{part}.js").read_text(encoding="utf-8") for part in PARTS]
    # A script in a page ends at the first such tag, wherever it stands.
    return PAGE % "\n".join(scripts).replace("</script", "<\\/script")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.plots_page FILE")
    write_text(Path(sys.argv[1]), page())
