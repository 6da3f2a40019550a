"""The data set of a run, as MLflow lists it: what its scores were measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXTS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Split:
    """A split of the data set.

    Attributes:
        name: The name of the split, `train` or `val`.
        data: The name of the data set.
        digest: The digest of the split's rows in the index; the same for the same images, sizes and
            tags.
        folder: The folder of the data set.
        profile: What else is known, such as the number of images.
    """

    name: str
    data: str
    digest: str
    folder: str
    profile: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The split's name in MLflow, where two splits of a data set are two data sets."""
        return f"{self.data}/{self.name}"

    def as_input(self) -> DatasetInput:
        """Convert the split to an input of a run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=self.title,
            digest=self.digest,
            source_type="local",
            source=json.dumps({"uri": self.folder}),
            profile=json.dumps(self.profile),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXTS[self.name])])
