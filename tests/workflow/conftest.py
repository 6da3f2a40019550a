"""What the tests of the engines share: a repository, the adapters that keep state, a cluster."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from dvc.repo import Repo
from slurm_cluster import Cluster

ENGINE = Path(__file__).parents[2] / "workflow/engine"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if not shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
        pytest.skip("Slurm is not installed: tools/slurm_cluster.sh install")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.do("up")
    yield cluster
    cluster.do("clean")


@pytest.fixture
def dvc_folder(tmp_path, monkeypatch) -> Path:
    """An empty repository of git and DVC, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".site"))
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    Repo.init(".").close()
    return tmp_path


@pytest.fixture
def stages(monkeypatch):
    """workflow/engine/snakemake.py, fresh: it keeps a lock as long as it lives.

    Small pipelines have no data, and `check` has tests of its own.
    """
    monkeypatch.setattr("rca.stages.check.run", lambda params: None)
    module = load("snakemake")
    yield module
    if module._guard:
        module._guard.close()


@pytest.fixture
def slurm_plugin():
    """workflow/engine/slurm.py, fresh: it keeps what Slurm said."""
    return load("slurm")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_under_test", ENGINE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
