"""`rca`: one verb per stage of the pipeline, and a few to look after it.

`dvc.yaml` calls these verbs; each can as well be run by hand. Torch and MLflow are imported inside
the verbs that need them, so that `rca --help` is quick.
"""

from __future__ import annotations

import sys

# Each adds its verbs to the app.
from rca.cli import (
    compare,
    data,
    export,
    figures,
    masks,
    predict,
    register,
    stages,
    tools,
)
from rca.cli.app import app
from rca.config import ConfigError

__all__ = [
    "app", "compare", "data", "export", "figures", "main", "masks", "predict", "register", "stages",
    "tools",
]  # fmt: skip


def main() -> None:
    """Run `rca`; what the user can mend is one message and exit status 2, without a traceback."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, _mendable()):
            raise
        print(f"rca: {error}", file=sys.stderr)
        sys.exit(2)


def _mendable() -> tuple[type[Exception], ...]:
    """Errors whose message says what to do."""
    from rca.data.images import DataError
    from rca.labels.pool import WorkerError

    return ConfigError, DataError, WorkerError, FloatingPointError
