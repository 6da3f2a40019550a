"""The segmentation network as MLflow serves it: photographs in, masks out.

MLflow copies this file into the model, beside the weights and this package, and runs it wherever
the model is loaded: nothing is pickled.
"""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from PIL import Image

import rca


class Segmenter(PythonModel):
    """`rca.load(...).predict` for each row of a table."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network, with the settings that its run was scored with."""
        self.model = rca.load(context.artifacts["weights"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Segment photographs.

        Args:
            context: Not used.
            model_input: The table with a column `image`, the bytes of a JPEG or PNG file.
            params: Not used.

        Returns:
            A table with columns `mask`, the bytes of a palette PNG (0 background, i = class i), and
            `classes`, the share of the area of each class in the mask, by name.
        """
        results = [self.model.predict(_opened(image)) for image in model_input["image"]]
        return pd.DataFrame(
            {
                "mask": [_png(result) for result in results],
                "classes": [result.classes for result in results],
            }
        )


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def _png(result: rca.Result) -> bytes:
    image = Image.fromarray(result.mask, mode="P")
    image.putpalette(result.palette.tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


set_model(Segmenter())
