"""The prototypes that stage `readout` fits, as a file: the stage and `rca predict` read it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor

from rca.data.images import whole
from rca.runtime.files import new_file

PROTOTYPES = "prototypes.safetensors"


class Fitted(NamedTuple):
    """The prototypes of a data set.

    Attributes:
        prototypes: Q, the prototypes, (L, K, D), of length 1, the background's first.
        valid: Which of them are valid, bool (L, K).
        means: The means of the features, (D,), as `pixel_directions` takes them.
    """

    prototypes: Tensor
    valid: Tensor
    means: Tensor


def write_fitted(folder: Path, fitted: Fitted) -> None:
    """Write the prototypes into the folder of the stage."""
    with new_file(folder / PROTOTYPES) as partial:
        save_file(fitted._asdict(), partial)


def read_fitted(folder: Path, fix: str) -> Fitted:
    """Read the prototypes from the folder of the stage.

    Args:
        folder: The folder.
        fix: What to do about a damaged file, for the message.

    Raises:
        DataError: The file is damaged.
    """
    with whole(folder / PROTOTYPES, fix):
        return Fitted(**load_file(folder / PROTOTYPES))
