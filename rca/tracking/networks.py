"""Trained networks in MLflow: each is a model that can be served, and belongs to its run."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature

PACKAGE = Path(__file__).parents[1]
CODE = PACKAGE / "inference/served.py"
DIGEST = "rca.weights"
# What `rca.load` and `predict` import, and what serves them.
PACKAGES = (
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
    "tqdm",
)
CRF_PACKAGE = "pydensecrf2"


@dataclass(frozen=True)
class Network:
    """A trained segmentation network of a run.

    Attributes:
        name: The name of the model in MLflow.
        product: The name of its masks in `metrics.json`.
        weights: The file of weights, which `rca.load` reads from any folder.
        settings: The settings by which it segments photographs, by dotted key.
        crf: Whether it refines masks by the CRF, whose library must then be installed.
    """

    name: str
    product: str
    weights: Path
    settings: Mapping[str, str]
    crf: bool


def log_network(client: MlflowClient, run: Run, network: Network) -> str:
    """Log a network to MLflow, as a model of the run, unless it is there.

    Returns:
        The id of the model.
    """
    from mlflow.models import Model

    with network.weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _remove_unfinished(client, run, network.name)
    if found := find_network(client, run, network.name, digest):
        _link(client, run, found.model_id)
        return found.model_id
    model = client.create_logged_model(
        run.info.experiment_id,
        name=network.name,
        source_run_id=run.info.run_id,
        params=dict(network.settings),
        tags={DIGEST: digest},
        model_type="semantic-segmentation",
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "model")
        known = Model(
            artifact_path=model.artifact_location, run_id=run.info.run_id, model_id=model.model_id
        )
        _write(place, network, known)
        client.log_model_artifacts(model.model_id, str(place))
    client.finalize_logged_model(model.model_id, "READY")
    _link(client, run, model.model_id)
    return model.model_id


def find_network(
    client: MlflowClient, run: Run, name: str, digest: str | None = None
) -> LoggedModel | None:
    """Find the run's finished model of that name; with `digest`, the one with these weights."""
    for model in _models(client, run, name):
        if model.status == "READY" and digest in (None, model.tags.get(DIGEST)):
            return model
    return None


def _models(client: MlflowClient, run: Run, name: str) -> list[LoggedModel]:
    """List the run's models of that name, the newest first."""
    return client.search_logged_models(
        [run.info.experiment_id],
        filter_string=f"source_run_id = '{run.info.run_id}' AND name = '{name}'",
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
    )


def _remove_unfinished(client: MlflowClient, run: Run, name: str) -> None:
    """Remove the partial models that a killed process left."""
    for model in _models(client, run, name):
        if model.status != "READY":
            client.delete_logged_model(model.model_id)


def _link(client: MlflowClient, run: Run, model: str) -> None:
    """Make the model an output of the run, by which `runs:/RUN/NAME` finds it."""
    from mlflow.entities import LoggedModelOutput

    outputs = run.outputs.model_outputs if run.outputs else []
    if model not in {output.model_id for output in outputs}:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model, step=0)])


def _write(folder: Path, network: Network, known: Model) -> None:
    """Write the model as MLflow lays it out: code, weights, signature, example, requirements."""
    from mlflow import pyfunc

    packages = [*PACKAGES, *([CRF_PACKAGE] if network.crf else [])]
    pyfunc.save_model(
        folder,
        python_model=str(CODE),
        artifacts={"weights": str(network.weights)},
        code_paths=[str(PACKAGE)],
        signature=_signature(),
        input_example=_example(),
        pip_requirements=[f"{name}=={version(name)}" for name in packages],
        mlflow_model=known,
    )


def _signature() -> ModelSignature:
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Map, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema(
            [ColSpec(DataType.binary, "mask"), ColSpec(Map(DataType.double), "classes")]
        ),
    )


def _example() -> pd.DataFrame:
    """Build an example from a grey picture: a model must not carry photographs of the data set."""
    import pandas as pd

    file = io.BytesIO()
    Image.new("RGB", (96, 72), "grey").save(file, format="JPEG")
    return pd.DataFrame({"image": [file.getvalue()]})
