"""A page template for `dvc plots` that needs no network.

    python -m tools.plots_page .dvc/plots/offline.html
    dvc config --local plots.html_template plots/offline.html

DVC's own template loads Vega from a content delivery network. Snakemake ships Vega for its report;
this tool embeds that copy in the template.
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
    """Build the template: DVC's placeholder for the charts stays, the one for its scripts goes."""
    data = files("snakemake") / "assets" / "data"
    scripts = [(data / part / f"{part}.js").read_text(encoding="utf-8") for part in PARTS]
    # A browser ends a script at the first such tag, even inside a string.
    return PAGE % "\n".join(scripts).replace("</script", "<\\/script")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.plots_page FILE")
    write_text(Path(sys.argv[1]), page())
