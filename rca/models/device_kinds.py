"""The kinds of device that a result may have been begun on.

Apart from `device`, which trainings import: they do not depend on this.
"""

from __future__ import annotations

import torch

from rca.config import Compute


def kinds(compute: Compute) -> list[str]:
    """List the kinds of device that a result may be computed on, that of this machine first.

    With `auto`, a machine without a GPU may get work that another began on one.
    """
    if compute.device != "auto":
        return [compute.device]
    return ["cuda"] if torch.cuda.is_available() else ["cpu", "cuda"]
