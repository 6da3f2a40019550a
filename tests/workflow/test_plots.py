"""`dvc plots` of the project's dvc.yaml, in a browser without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser_pages import NEEDED, WIDE
from dvc.repo import Repo
from tiny_results import HISTORY, evaluate_results, tiny_params, write_results

from rca.runtime.files import write_text
from tools.plots_page import page

ROOT = Path(__file__).parents[2]
DVC = Path(sys.executable).parent / "dvc"

pytestmark = [NEEDED, pytest.mark.slow]  # starts DVC


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with the project's dvc.yaml and chart templates, and the tiny results."""
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copytree(ROOT / ".dvc/plots", tmp_path / ".dvc/plots", dirs_exist_ok=True)
    shutil.copy(ROOT / "configs/debug.yaml", tmp_path / "params.yaml")
    results = write_results(tmp_path / "data")
    evaluate_results(results, tiny_params())
    results.rename(tmp_path / "debug")
    (tmp_path / "results").mkdir()
    (tmp_path / "debug").rename(tmp_path / "results/debug")
    assert (tmp_path / "results/debug/train_cam/history.csv").read_text() == HISTORY
    return tmp_path


def test_plots__show_losses_classes_and_confusions_without_a_network(project, visits):
    write_text(project / ".dvc/plots/offline.html", page())
    command = [DVC, "plots", "show", "--html-template", ".dvc/plots/offline.html", "-o", "out"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    shown = visits((project / "out/index.html").as_uri(), WIDE)
    shown.wait_for_function("document.querySelectorAll('.vega-embed canvas').length >= 5")
    text = (project / "out/index.html").read_text()
    for title in (
        "Where the pixels of each true class went",
        "IoU of the classes",
        "mIoU of the CAM seeds",
        "Training of the CAM network",
        "Training of the segmentation network (pseudo)",
    ):
        assert title in text
