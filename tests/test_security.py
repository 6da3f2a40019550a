"""What must never happen: foreign code run, a file outside its folder, a secret written down."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torchvision import models

from rca import config
from rca.config import Backbone, ConfigError, Params, TrainCam
from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_mask
from rca.data.voc_folder import read_list
from rca.models import backbones
from rca.models.cam_network import CamNetwork
from rca.models.weights import load_network
from rca.training.checkpoint import read_state

ROOT = Path(__file__).parents[1]
CODE = sorted(
    path
    for folder in ("rca", "workflow", "benchmarks", "tools")
    for path in (ROOT / folder).rglob("*.py")
)
# Modules whose readers run what a file tells them to.
UNSAFE_MODULES = {
    "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve",
}  # fmt: skip
HARMLESS = {("pickle", "UnpicklingError")}
UNSAFE_CALLS = {
    "extractall", "full_load", "full_load_all", "load_pickle", "mktemp",
    "read_pickle", "system", "unpack_archive", "unsafe_load", "unsafe_load_all",
}  # fmt: skip
SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}


def faults(source: str) -> list[str]:
    """What a module does that could run a file's content, or write outside of a folder."""
    return [fault for node in ast.walk(ast.parse(source)) for fault in faults_of(node)]


def faults_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        names = [alias.name.partition(".")[0] for alias in node.names]
        return [f"import {name}" for name in names if name in UNSAFE_MODULES]
    if isinstance(node, ast.ImportFrom):
        module = (node.module or "").partition(".")[0]
        taken = {(module, alias.name) for alias in node.names} - HARMLESS
        return [f"from {module} import {name}" for _, name in taken if module in UNSAFE_MODULES]
    if not isinstance(node, ast.Call):
        return []
    named = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    called = ast.unparse(node.func)
    name = called.rpartition(".")[2]
    wrong = {
        called: called == "torch.load" and named.get("weights_only") != "True",
        f"{name}(allow_pickle)": named.get("allow_pickle", "False") != "False",
        f"{name}(shell=True)": named.get("shell", "False") != "False",
        f"{called} of any tag": called == "yaml.load" and not _safely(node, named),
        f"{name}(weights) of torchvision": "weights" in named and called.startswith("models."),
        f"{name} without weights_only": name
        in ("get_state_dict", "load_state_dict_from_url", "load_url")
        and named.get("weights_only") != "True",
        f"{called}()": name in UNSAFE_CALLS or called in ("eval", "exec"),
    }
    return [fault for fault, found in wrong.items() if found]


def _safely(node: ast.Call, named: dict[str, str]) -> bool:
    given = [named["Loader"]] if "Loader" in named else [ast.unparse(a) for a in node.args[1:]]
    return any(loader.rpartition(".")[2] in SAFE_LOADERS for loader in given)


def test_code__loads_nothing_that_could_run():
    assert len(CODE) > 150
    found = {
        path.relative_to(ROOT).as_posix(): fault
        for path in CODE
        for fault in faults(path.read_text())
    }
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import load",
        "import joblib.numpy_pickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, yaml.FullLoader)",
        "yaml.unsafe_load(text)",
        "pd.read_pickle(path)",
        "tar.extractall(folder)",
        "shutil.unpack_archive(path)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "eval(text)",
        "weights.get_state_dict(check_hash=True)",
        "models.vgg16(weights=w)",
    ],
)
def test_faults__are_found(line):
    assert faults(line)


@pytest.mark.parametrize(
    "line",
    [
        "from pickle import UnpicklingError",
        "torch.load(path, weights_only=True)",
        "yaml.load(text, yaml.CSafeLoader)",
        "yaml.safe_load(text)",
        "np.load(path)",
        "network.eval()",
        "weights.get_state_dict(check_hash=True, weights_only=True)",
    ],
)
def test_faults__safe_ways_are_let_through(line):
    assert not faults(line)


class Bomb:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: load_network(path, CamNetwork, TrainCam, ["cat"]),
        lambda path: CamStore(path),
        lambda path: read_state(path),
        lambda path: read_mask(path),
        lambda path: backbones.build_backbone(Backbone(name="mobilenet_v2", weights=path)),
        lambda path: config.load(path),
    ],
    ids=["weights", "class maps", "checkpoint", "mask", "pretrained", "params"],
)
@pytest.mark.parametrize("form", ["torch", "numpy", "yaml"])
def test_readers__run_nothing_of_a_file(tmp_path, read, form):
    trace, file = tmp_path / "trace", tmp_path / "file.safetensors"
    if form == "torch":
        torch.save(Bomb(trace), file)
    elif form == "numpy":
        with file.open("wb") as stream:
            np.save(stream, np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    else:
        file.write_text(f"!!python/object/apply:pathlib.Path.touch [{trace}]\n")

    with pytest.raises((ConfigError, DataError, ValueError)):
        read(file)

    assert not trace.exists()


def test_imagenet_weights__in_the_cache_run_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = Path(models.MobileNet_V2_Weights.IMAGENET1K_V1.url).name
    (tmp_path / "checkpoints").mkdir()
    torch.save(Bomb(tmp_path / "trace"), tmp_path / "checkpoints" / name)

    with pytest.raises(ConfigError, match="remove it"):
        backbones.build_backbone(Backbone(name="mobilenet_v2", weights="imagenet"))

    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])
def test_lists__name_no_file_outside_the_data_set(tmp_path, name):
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text(f"fine\n{name}\n")

    with pytest.raises(DataError, match="points outside the folder"):
        read_list(tmp_path, "train", "train")


@pytest.mark.parametrize("key", ["experiment", "name"])
@pytest.mark.parametrize("value", ["..", ".", "../up", "-o", "a/b"])
def test_names__of_folders_stay_below_their_parent(key, value):
    content = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
    (content if key == "experiment" else content["download"])[key] = value

    with pytest.raises(ValueError, match="should match pattern"):
        Params.model_validate(content)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "uri",
    [
        f"https://user:{SECRET}@mlflow.example.org",
        f"postgresql://user:{SECRET}@db/mlflow",
        f"https://mlflow.example.org/?token={SECRET}",
        f"mysql://db/mlflow?user=a&password={SECRET}",
    ],
)
def test_tracking_uri__with_a_secret_is_refused_without_showing_it(tmp_path, uri):
    file = tmp_path / "params.yaml"
    content = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
    content["track"]["uri"] = uri
    file.write_text(yaml.safe_dump(content))

    with pytest.raises(ConfigError, match=r"track\.uri: holds a password") as error:
        config.load(file)

    assert SECRET not in str(error.value)
    assert "MLFLOW_TRACKING_PASSWORD" in str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "https://mlflow.example.org:5000",
        "postgresql://user@db/mlflow",
        "mysql://db/mlflow?charset=utf8",
        "file:///work/mlruns",
    ],
)
def test_tracking_uri__without_a_secret_is_taken(uri):
    content = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
    content["track"]["uri"] = uri

    assert Params.model_validate(content).track.uri == uri


def test_commands__in_docs_and_code_serve_this_machine_alone():
    places = [*ROOT.glob("*.md"), ROOT / "Makefile", *ROOT.glob("docs/**/*.md"), *CODE]
    open_to_all = re.compile(r"(--host|-h|--bind|--listen)[ =]?['\"]?(0\.0\.0\.0|::|\*)")
    found = {path for path in places if open_to_all.search(path.read_text())}
    # A server for several people, which says so.
    assert found == {ROOT / "docs/guides/mlflow_server.md"}
    assert "asks nobody for a password" in (ROOT / "docs/guides/mlflow_server.md").read_text()
    mentions = re.compile(r"0\.0\.0\.0")
    assert not [path for path in places if path in CODE and mentions.search(path.read_text())]


def test_mlflow__serves_this_machine_alone_unless_told():
    from mlflow import cli
    from mlflow.models import cli as models_cli

    commands = [cli.server, models_cli.commands.commands["serve"]]
    hosts = {
        option.default for command in commands for option in command.params if option.name == "host"
    }
    assert hosts == {"127.0.0.1"}
