"""Models that are named by an MLflow address instead of a path."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

from rca.config import ConfigError, not_installed

ADDRESS = re.compile(r"(runs|models|mlflow-artifacts):/")


def local(weights: str | Path) -> Path:
    """Return the path of a model; one from MLflow is downloaded, and removed when Python exits.

    MLflow looks in the store that `MLFLOW_TRACKING_URI` names, or in `mlflow.db` in the working
    directory.

    Raises:
        ConfigError: MLflow is not installed, or has no such model.
    """
    if not ADDRESS.match(str(weights)):
        return Path(weights)
    try:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise not_installed(str(weights), "MLflow", "workflow") from None
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        return Path(download_artifacts(artifact_uri=str(weights), dst_path=folder))
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(
            f"{weights}: MLflow has no such model ({reason}); MLFLOW_TRACKING_URI says where it "
            "looks"
        ) from None
