"""The networks of a run in MLflow: whole, once, served over HTTP, registered, loaded again."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from tiny_results import evaluate_results, tiny_params, write_results

import rca
from rca.config import Backbone, ConfigError, TrainSeg
from rca.evaluation.products import NETWORKS
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights
from rca.sources.unpacking import contents
from rca.stages import track
from rca.tracking import registry

mlflow = pytest.importorskip("mlflow")

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "data/embedded/voc12_animals_sample.tar"
CLASSES = ("cat", "dog")


def save_network(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    cfg = TrainSeg(backbone=Backbone(name="mobilenet_v2", stride=8, weights="none", blocks=4))
    network = DeepLab(len(CLASSES), cfg)
    for branch in network.head:
        torch.nn.init.normal_(branch.weight, std=5.0)  # or all of an image is one class
    save_weights(path, network, CLASSES, cfg)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """Folder of results with two networks, tracked in the store beside it."""
    folder = tmp_path_factory.mktemp("tracked")
    results, params = write_results(folder), tiny_params()
    evaluate_results(results, params)
    for seed, supervision in enumerate(("pseudo", "truth")):
        save_network(results / f"train_seg/{supervision}/weights.safetensors", seed)
    cfg = params.track.model_copy(update={"uri": f"sqlite:///{folder}/mlflow.db"})
    params = params.model_copy(update={"track": cfg})
    track.run(cfg, params, results=results, out=results / "track")
    return results, params


@pytest.fixture
def client(tracked, monkeypatch):
    uri = tracked[1].track.uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(None)
    return mlflow.MlflowClient(uri)


def run_of(client) -> mlflow.entities.Run:
    (run,) = client.search_runs([client.get_experiment_by_name("rca").experiment_id])
    return run


def models_of(client) -> dict[str, mlflow.entities.LoggedModel]:
    models = client.search_logged_models([client.get_experiment_by_name("rca").experiment_id])
    return {model.name: model for model in models}


@pytest.fixture(scope="module")
def photograph() -> bytes:
    _, content = next(contents(SAMPLE, lambda name: name.endswith(".jpg")))
    return content


def test_networks__are_models_of_the_run_with_its_scores_and_settings(tracked, client):
    results, params = tracked
    scores = json.loads((results / "evaluate/metrics.json").read_text())["miou"]

    models = models_of(client)

    assert set(models) == {"segmentation", "segmentation_true_masks"}
    for supervision in params.train_seg.supervisions:
        product, model = NETWORKS[supervision], models[track.NAMES[supervision]]
        assert model.source_run_id == run_of(client).info.run_id
        assert model.params["infer_seg.size"] == str(params.infer_seg.size)
        (miou,) = [metric for metric in model.metrics if metric.key.startswith("miou/")]
        assert (miou.key, miou.value) == (f"miou/{product}", scores[product])
        assert (miou.dataset_name, bool(miou.dataset_digest)) == ("d/val", True)


def test_data__are_inputs_of_the_run_with_a_digest_of_the_index(tracked, client):
    inputs = run_of(client).inputs.dataset_inputs

    found = {item.dataset.name: item for item in inputs}
    assert set(found) == {"d/train", "d/val"}
    assert json.loads(found["d/train"].dataset.profile)["images"] == 2
    assert found["d/train"].dataset.digest != found["d/val"].dataset.digest
    assert {tag.key: tag.value for tag in found["d/val"].tags} == {
        "mlflow.data.context": "validation"
    }


def test_track__again_doubles_no_model(tracked, client):
    results, params = tracked
    before = models_of(client)

    track.run(params.track, params, results=results, out=results / "track")

    after = client.search_logged_models([run_of(client).info.experiment_id])
    assert sorted(model.model_id for model in after) == sorted(
        model.model_id for model in before.values()
    )


def test_load__takes_the_address_of_a_run(tracked, client, photograph):
    results, _ = tracked
    address = f"runs:/{run_of(client).info.run_id}/segmentation"

    fetched, original = rca.load(address), rca.load(results)

    assert fetched.settings == original.settings
    image = Image.open(io.BytesIO(photograph))
    np.testing.assert_array_equal(fetched.predict(image).mask, original.predict(image).mask)


def test_load__says_that_there_is_no_such_model(client):
    with pytest.raises(ConfigError, match="runs:/none/x: MLflow has no such model"):
        rca.load("runs:/none/x")


def test_register__gives_a_version_an_alias_and_what_it_is_asked_with(tracked, client, photograph):
    results, params = tracked

    first = registry.register(results, name="animals", alias="champion")
    again = registry.register(results, name="animals", alias="champion")
    other = registry.register(
        results, name="animals", alias="bound", network="segmentation_true_masks"
    )

    assert first == again == ("1", "models:/animals@champion") and other.version == "2"
    version = client.get_model_version_by_alias("animals", "champion")
    assert (str(version.version), version.run_id) == ("1", run_of(client).info.run_id)
    assert version.tags["infer_seg.size"] == str(params.infer_seg.size)
    assert " on d/val " in version.tags["miou/network_val"]
    image = Image.open(io.BytesIO(photograph))
    np.testing.assert_array_equal(
        rca.load("models:/animals@champion").predict(image).mask,
        rca.load(results).predict(image).mask,
    )


def test_register__says_what_is_missing(tracked, client, tmp_path):
    results, _ = tracked
    with pytest.raises(ConfigError, match="track the run first: rca track"):
        registry.register(tmp_path, name="animals", alias="champion")
    with pytest.raises(ConfigError, match="has no model readout"):
        registry.register(results, name="animals", alias="champion", network="readout")


def test_packages__are_all_that_a_model_needs_to_be_loaded(tracked, photograph, tmp_path):
    """Others of this environment are made to look as if they were not installed."""
    others = {"matplotlib", "jinja2", "requests", "typer", "pycocotools", "pydensecrf"}
    results, _ = tracked
    (tmp_path / "photograph.jpg").write_bytes(photograph)
    code = f"""
import sys
sys.modules.update(dict.fromkeys({others!r}))
import rca
rca.load({str(results)!r}).predict("photograph.jpg")
"""

    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_track__completes_the_models_of_a_run_that_was_killed(tracked, tmp_path, monkeypatch):
    results, params = tracked
    cfg = params.track.model_copy(update={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    params = params.model_copy(update={"track": cfg})
    client = mlflow.MlflowClient(cfg.uri)
    for step in ("log_model_artifacts", "log_outputs"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(mlflow.MlflowClient, step, interrupt)
            track.run(cfg, params, results=results, out=tmp_path / "track")

    track.run(cfg, params, results=results, out=tmp_path / "track")

    models, outputs = models_of(client), run_of(client).outputs.model_outputs
    assert {output.model_id for output in outputs} == {model.model_id for model in models.values()}
    assert [model.status for model in models.values()] == ["READY", "READY"]
    assert len(client.search_logged_models([run_of(client).info.experiment_id])) == 2


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.server
def test_serve__answers_a_jpeg_with_the_mask_that_predict_gives(
    tracked, client, photograph, tmp_path
):
    results, params = tracked
    address = f"runs:/{run_of(client).info.run_id}/segmentation"
    request = {"dataframe_records": [{"image": base64.b64encode(photograph).decode()}] * 2}

    with serving(address, params.track.uri, tmp_path) as url:
        answer = requests.post(f"{url}/invocations", json=request, timeout=60)
        documented = ask_as_documented(url, photograph, tmp_path)

    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    assert first == second
    expected = rca.load(results).predict(Image.open(io.BytesIO(photograph)))
    mask = Image.open(io.BytesIO(base64.b64decode(first["mask"])))
    np.testing.assert_array_equal(np.asarray(mask), expected.mask)
    np.testing.assert_array_equal(documented, expected.mask)
    assert len(np.unique(expected.mask)) > 1
    assert first["classes"] == pytest.approx(expected.classes)


def ask_as_documented(url: str, photograph: bytes, folder: Path) -> np.ndarray:
    """The mask that the example of docs/guides/tracking.md gets."""
    page = (SAMPLE.parents[2] / "docs/guides/tracking.md").read_text(encoding="utf-8")
    code = page.partition("python - << 'END'\n")[2].partition("\nEND")[0]
    assert "http://127.0.0.1:5001" in code
    (folder / "photograph.jpg").write_bytes(photograph)
    code = code.replace("http://127.0.0.1:5001", url)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return np.asarray(Image.open(folder / "mask.png"))


class serving:
    """`mlflow models serve` as a user calls it, until the block ends."""

    def __init__(self, address: str, uri: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "server.log"
        self.command = [
            sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", address,
            "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # of uvicorn
        self.environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": path}
        self.environment.pop("PYTHONPATH", None)  # the model brings its code

    def __enter__(self) -> str:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.log.parent,
                start_new_session=True,
            )
        for _ in range(240):
            assert self.process.poll() is None, self.log.read_text()
            try:
                if requests.get(f"{self.url}/ping", timeout=5).ok:
                    return self.url
            except requests.ConnectionError:
                time.sleep(0.5)
        self.__exit__()
        raise AssertionError(self.log.read_text())

    def __exit__(self, *_) -> None:
        os.killpg(self.process.pid, 15)
        self.process.wait(30)
