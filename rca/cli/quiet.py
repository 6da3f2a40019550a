"""`dvc repro --quiet`: DVC keeps its own lines back, but does not pass the option on to stages."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import PurePath

VARIABLE = "RCA_QUIET"  # for the processes that this one starts, such as those of a training


def is_quiet() -> bool:
    """Tell whether to print errors alone, as the variable says, or the DVC that runs a stage.

    DVC names the stage in `DVC_STAGE`, and is a parent of this process, with a shell between them.
    """
    if VARIABLE not in os.environ and "DVC_STAGE" in os.environ:
        os.environ[VARIABLE] = "1" if _dvc_is_quiet() else ""
    return bool(os.environ.get(VARIABLE))


def _dvc_is_quiet() -> bool:
    import psutil

    with suppress(psutil.Error):
        for parent in psutil.Process().parents()[:3]:
            words = parent.cmdline()
            programs = [place for place, word in enumerate(words) if PurePath(word).name == "dvc"]
            if programs:
                return not {"-q", "--quiet"}.isdisjoint(words[programs[0] + 1 :])
    return False
