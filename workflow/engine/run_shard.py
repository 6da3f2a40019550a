"""One shard of a stage of dvc.yaml, as a job.

    python -m workflow.engine.run_shard STAGE NUMBER/SHARDS

The stage's own command processes a share of its images and keeps the results in `state/`. DVC is
asked first: what it has cached from an earlier run, it restores when the stage's turn comes.
"""

from __future__ import annotations

import subprocess
import sys

from dvc.repo import Repo
from dvc.stage import Stage
from dvc.stage.cache import RunCacheNotFoundError
from dvc_data.hashfile.hash_info import HashInfo

from workflow.engine.dvc import mend
from workflow.engine.events import run_telling


def main() -> int:
    """Run the shard, unless there is nothing to do."""
    name, share = sys.argv[1:]
    mend()
    repo = Repo(".", _wait_for_lock=True)
    with repo.lock:
        stage = repo.stage.load_one(name=name)
        if is_kept(stage):
            print(f"{name}: DVC has kept the result of an earlier run")
            return 0
    return subprocess.call(["/bin/sh", "-c", f"{stage.cmd} --shard {share}"])


def is_kept(stage: Stage) -> bool:
    """Check whether `dvc repro` would restore the outputs of `stage` instead of running it.

    Its command and inputs are compared with `dvc.lock`, then with all earlier runs.
    """
    if stage.changed_stage() or not stage.deps_cached():
        stage.save_deps()
        for out in stage.outs:
            out.hash_info = HashInfo()  # the hash in dvc.lock belongs to other inputs
    try:
        stage.repo.stage_cache.restore(stage, dry=True)
    except RunCacheNotFoundError:
        return False
    return True


if __name__ == "__main__":
    run_telling(main)
