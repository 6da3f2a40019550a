"""Jobs on a real Slurm cluster: who waits for whom, and what becomes of a job that dies.

Every run is a pipeline of its own with a training that keeps its state, as the real ones do, and
waits at one step to be disturbed: nothing depends on how fast the machine is. All runs go on at
once; the tests read what they left. On a machine without Slurm: `tools/slurm_cluster.sh install`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.repo import Repo
from slurm_cluster import Cluster

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc"),
]

ROOT = Path(__file__).parents[2]
SNAKEMAKE = [
    str(Path(sys.executable).parent / "snakemake"),
    *("--cores", "2", "--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2"),
]
STEPS, HELD = 6, 2
# Each step depends on all before it: what was lost or done twice would show.
TRAINING = """
import hashlib, pathlib, signal, sys, time
steps, held, out = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
state, log = pathlib.Path("state"), open("training.log", "a", buffering=1)
signal.signal(signal.SIGUSR1, lambda *_: log.write("warned\\n"))
first = not state.exists()
done = ["0", ""] if first else state.read_text().split()
for step in range(int(done[0]), steps):
    log.write(f"step {step}\\n")
    while first and step == held and not pathlib.Path("let_go").exists():
        time.sleep(0.1)
    digest = hashlib.sha256(f"{done[-1]}{step}".encode()).hexdigest()
    done = [str(step + 1), digest]
    part = state.with_suffix(".part")
    part.write_text(" ".join(done))
    part.replace(state)
out.write_text(done[-1])
"""
PIPELINE = """
stages:
  train:
    cmd: exec {python} training.py {steps} {held} out
    deps: [training.py]
    outs: [out]
    meta: {{slurm: {slurm}}}
  score:
    cmd: wc -c < out > score
    deps: [out]
    outs: [score]
"""
PAIR = """
stages:
  pair:
    foreach: [a, b]
    do:
      cmd: >-
        date +%s.%N > ${{item}}; sleep 3; date +%s.%N >> ${{item}};
        echo $CUDA_VISIBLE_DEVICES >> ${{item}}
      params: [seed]
      outs: ["${{item}}"]
      meta: {{slurm: {slurm}}}
"""
# A stage that runs where Snakemake does, as long as the test wants, and then a job.
AFTERWARDS = """
stages:
  small:
    cmd: "echo begun > begun; until test -e let_go; do sleep 0.1; done; echo small > small"
    outs: [small]
  large:
    cmd: wc -c < small > large
    deps: [small]
    outs: [large]
    meta: {{slurm: {slurm}}}
"""
# The command that `rca train-cam` becomes on two nodes, with a stand-in for `rca` behind it.
SPREAD = """
stages:
  spread:
    cmd: {python} spread.py
    deps: [spread.py]
    outs: [rank0, rank1]
    meta: {{slurm: {slurm}}}
"""
LAUNCHER = """
import os
from rca.cli.launch import torchrun
from rca.config import Compute
compute = Compute(gpus=1, nodes=2, threads=1)
command = torchrun(compute, ["train-cam"], os.environ["SLURM_JOB_ID"])
os.environ["PYTHONPATH"] = "stand_in"
os.execvp(command[0], command)
"""
STAND_IN = """
import os, pathlib, sys, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor(dist.get_rank() + 1)
dist.all_reduce(total)
place = os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"]
pathlib.Path(f"rank{dist.get_rank()}").write_text(" ".join([*place, str(int(total)), sys.argv[1]]))
dist.destroy_process_group()
"""
FIRST = "--nodelist=n1"  # jobs that do not say so run on n2, which will be lost


def result() -> str:
    digest = ""
    for step in range(STEPS):
        digest = hashlib.sha256(f"{digest}{step}".encode()).hexdigest()
    return digest


class Run:
    """A pipeline in a folder of its own, and the Snakemake that runs it on the cluster."""

    def __init__(self, root: Path, cluster: Cluster, pipeline: str, **slurm) -> None:
        self.root, self.cluster = root, cluster
        for name in ("Snakefile", "params.yaml", ".dvc/config", "slurm/config.yaml"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
        shutil.copytree(ROOT / "workflow", root / "workflow")
        (root / "data").mkdir()
        (root / "data/embedded").symlink_to(ROOT / "data/embedded")  # what params.yaml names
        (root / "training.py").write_text(TRAINING)
        slurm = {"mem_mb": 900, "runtime": 30, "slurm_extra": FIRST, **slurm}
        text = ", ".join(f"{key}: {value}" for key, value in slurm.items())
        pipeline = pipeline.format(
            python=sys.executable, steps=STEPS, held=HELD, slurm=f"{{{text}}}"
        )
        (root / "dvc.yaml").write_text(pipeline)
        subprocess.run(["git", "init", "--quiet", "."], cwd=root, check=True)
        self.environment = {**cluster.environment, "DVC_SITE_CACHE_DIR": str(root / ".site")}
        self.process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        return self.root / "snakemake.log"

    def start(self, *options: str) -> None:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*SNAKEMAKE, *options],
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finish(self) -> int:
        self.cluster.wait_until(lambda: self.process.poll() is not None, self.log)
        return self.process.returncode

    def text(self) -> str:
        return self.log.read_text()

    def training_log(self) -> str:
        file = self.root / "training.log"
        return file.read_text() if file.exists() else ""

    def until_held(self) -> None:
        """Wait until the training waits for what disturbs it."""
        self.cluster.wait_until(lambda: f"step {HELD}\n" in self.training_log(), self.log)

    def let_go(self) -> None:
        """Have the training not wait, or no longer; a repeat does not in any case."""
        (self.root / "let_go").touch()

    def jobs(self) -> list[SimpleNamespace]:
        """The Slurm jobs of this run, in the order of their submission."""
        listed = self.cluster.client("squeue", "--states=all", "-h", "-o", "%A|%T|%N|%Z")
        jobs = [
            SimpleNamespace(
                **dict(zip(("id", "state", "node", "folder"), line.split("|"), strict=True))
            )
            for line in listed.splitlines()
        ]
        return sorted(
            (job for job in jobs if job.folder == str(self.root)), key=lambda job: int(job.id)
        )


def controller_restarted(run: Run) -> None:
    run.cluster.save_jobs(run.jobs()[-1].id)
    run.cluster.do("kill-controller")
    run.let_go()
    time.sleep(5)
    run.cluster.do("start-controller")


def cancelled(run: Run) -> None:
    run.cluster.client("scancel", run.jobs()[-1].id)


def killed(run: Run) -> None:
    (training,) = [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and _runs_training(process, run.root)
    ]
    os.kill(training, signal.SIGKILL)


def _runs_training(process: Path, root: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return words[1:2] == [b"training.py"] and (process / "cwd").readlink() == root
    except (FileNotFoundError, ProcessLookupError):
        return False


def node_lost(run: Run) -> None:
    node = run.jobs()[-1].node
    assert node == "n2"
    run.cluster.do("kill-node", node)


def out_of_time(run: Run) -> None:
    """Its limit ends the job, 30 to 90 s from now; Slurm looks every 30 s or later."""
    job = run.jobs()[-1].id
    minutes, seconds = run.cluster.client("squeue", "-h", "-j", job, "-O", "TimeUsed").split(":")
    limit = (60 * int(minutes) + int(seconds) + 30) // 60 + 1
    run.cluster.client("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")


# How a run is disturbed, in this order, the states its training's jobs end in, and how its job
# differs. Without a controller no other run could be disturbed: it is back before the next. And no
# job may start just before it goes: `pair`, which is not held, starts after all of them.
DISTURBANCES: list[tuple[Callable[[Run], None], list[str], dict]] = [
    (controller_restarted, ["COMPLETED"], {}),
    (out_of_time, ["TIMEOUT", "COMPLETED"], {"slurm_extra": f"{FIRST} --signal=USR1@15"}),
    (cancelled, ["CANCELLED", "COMPLETED"], {}),
    (killed, ["FAILED", "COMPLETED"], {}),
    (node_lost, ["NODE_FAIL", "COMPLETED"], {"slurm_extra": ""}),
]


@pytest.fixture(scope="module")
def runs(cluster, tmp_path_factory) -> Iterator[dict[str, Run]]:
    """All runs, by what disturbed them; `pair` is that of two jobs for one GPU."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {"pair": Run(folder / "pair", cluster, PAIR, gpu=1)}
    for disturb, _, options in DISTURBANCES:
        name = disturb.__name__
        runs[name] = Run(folder / name, cluster, PIPELINE, **options)
    runs["pair"].start("-n")
    assert runs["pair"].finish() == 0, runs["pair"].text()
    runs["pair"].requests = re.findall(r"^\w+: (sbatch .*)$", runs["pair"].text(), re.MULTILINE)
    try:
        disturbed = [(runs[disturb.__name__], disturb) for disturb, *_ in DISTURBANCES]
        for run, _ in disturbed:
            run.start()
        for run, _ in disturbed:
            run.until_held()
        for run, disturb in disturbed:
            disturb(run)
        runs["pair"].start()
        for run in runs.values():
            run.status = run.finish()
        yield runs
    finally:
        for run in runs.values():
            if run.process:
                run.process.kill()


def test_training__on_two_nodes_is_one_job_with_a_torchrun_on_each(cluster, tmp_path):
    run = Run(tmp_path / "spread", cluster, SPREAD, gpu=1, nodes=2, mem_mb=4000, slurm_extra="")
    (run.root / "spread.py").write_text(LAUNCHER)
    (run.root / "stand_in/rca").mkdir(parents=True)
    (run.root / "stand_in/rca/__main__.py").write_text(STAND_IN)
    run.start()

    assert run.finish() == 0, run.text()
    assert [job.state for job in run.jobs()] == ["COMPLETED"]
    first, second = ((run.root / f"rank{rank}").read_text().split() for rank in (0, 1))
    assert {first[0], second[0]} == {"n1", "n2"}
    assert first[1:] == second[1:] == ["0", "3", "train-cam"]


def test_job__that_is_due_while_the_controller_is_away_waits_for_it(cluster, tmp_path):
    run = Run(tmp_path / "afterwards", cluster, AFTERWARDS)
    run.start()
    cluster.wait_until((run.root / "begun").exists, run.log)
    cluster.do("kill-controller")
    (run.root / "let_go").touch()
    cluster.wait_until(lambda: "Slurm does not answer; large" in run.text(), run.log)
    cluster.do("start-controller")

    assert run.finish() == 0, run.text()
    assert [job.state for job in run.jobs()] == ["COMPLETED"]
    assert (run.root / "large").read_text().strip() == "6"


def contained(run: Run) -> Path:
    """Have `run` use an image; its stand-in for Apptainer notes how it is called, in this file."""
    profile = run.root / "slurm/config.yaml"
    text = profile.read_text()
    assert "# - container=envs/rca.sif" in text
    profile.write_text(text.replace("# - container=envs/rca.sif", "- container=site.sif"))
    program, calls = run.root / "bin/apptainer", run.root / "apptainer.log"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\nuntil [ "$1" = site.sif ]; do shift; done\nshift\n"$@"\n'
    )
    program.chmod(0o755)
    run.environment["PATH"] = f"{program.parent}:{run.environment['PATH']}"
    return calls


def test_container__is_where_heavy_stages_run(cluster, tmp_path):
    run = Run(tmp_path / "contained", cluster, PIPELINE, gpu=1)
    calls = contained(run)
    run.let_go()
    run.start()

    assert run.finish() == 0, run.text()
    (call,) = calls.read_text().splitlines()  # `score` is none
    assert re.fullmatch(r"exec --nv site.sif python -m workflow.engine.run_stage train", call)
    assert (run.root / "out").read_text() == result()


def test_container__of_a_training_on_several_nodes_is_refused(cluster, tmp_path):
    run = Run(tmp_path / "spread", cluster, SPREAD, gpu=1, nodes=2)
    contained(run)
    run.start("-n")

    assert run.finish() == 1
    assert "compute.nodes above 1 calls srun" in run.text()


@pytest.mark.parametrize(
    ("name", "states"), [(disturb.__name__, states) for disturb, states, _ in DISTURBANCES]
)
def test_disturbed_run__ends_as_an_undisturbed_one(runs, name, states):
    run = runs[name]

    assert run.status == 0, run.text()
    assert [job.state for job in run.jobs()] == states
    assert (run.root / "out").read_text() == result()
    assert (run.root / "score").read_text().strip() == "64"


@pytest.mark.parametrize("name", [disturb.__name__ for disturb, *_ in DISTURBANCES])
def test_disturbed_run__goes_on_where_it_was_and_leaves_nothing_to_do(runs, name):
    run = runs[name]
    log = re.findall(r"step (\d+)", run.training_log())

    assert len(log) - len(set(log)) <= 1, log  # at most the step under way is done again
    with Repo(str(run.root)) as repo:
        assert repo.status() == {}


def test_job__is_warned_before_its_time_is_up(runs):
    log = runs["out_of_time"].training_log()

    assert "warned" in log
    assert all(
        "warned" not in run.training_log() for name, run in runs.items() if name != "out_of_time"
    )


def test_jobs__for_one_gpu_run_one_after_the_other(runs):
    run = runs["pair"]
    assert run.status == 0, run.text()
    (a_start, a_end, *a_gpu), (b_start, b_end, *b_gpu) = (
        (run.root / name).read_text().split() for name in "ab"
    )

    assert a_gpu == b_gpu == ["0"]
    assert a_end < b_start or b_end < a_start


def test_requests__are_those_of_the_dry_run(runs, cluster):
    run = runs["pair"]
    log = Path(cluster.environment["SLURM_CLUSTER"], "log/sbatch.log").read_text()
    sent = [call for call in log.splitlines() if f" -D {run.root} " in call]
    pattern = r"--job-name \S+|--output \S+|--comment \S+| -D \S+|--wrap=.*"

    assert len(sent) == len(run.requests) == 2
    for call, request in zip(sorted(sent), sorted(run.requests), strict=True):
        assert shlex.split(re.sub(pattern, "", call)) == shlex.split(re.sub(pattern, "", request))
