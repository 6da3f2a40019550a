"""One shard of a stage of dvc.yaml, as a job: `python workflow/shard.py STAGE NUMBER/SHARDS`.

The stage's own command does a share of its images and keeps them in `state/`. DVC is asked first:
what it has kept from an earlier run, it restores when the stage's turn comes.
"""

from __future__ import annotations

import subprocess
import sys

from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError


def main() -> int:
    """Run the shard, unless there is nothing to do."""
    name, share = sys.argv[1:]
    repo = Repo(".", _wait_for_lock=True)
    with repo.lock:
        stage = repo.stage.load_one(name=name)
        stage.save_deps()
        try:
            repo.stage_cache.restore(stage, dry=True)
        except RunCacheNotFoundError:
            pass
        else:
            return 0
    return subprocess.call(["/bin/sh", "-c", f"{stage.cmd} --shard {share}"])


if __name__ == "__main__":
    sys.exit(main())
