# The pipeline of dvc.yaml, run by Snakemake: in parallel, and on a cluster.
#
#   snakemake --cores all                       everything
#   snakemake --cores all crf                   one stage and what it needs
#   snakemake --cores all --profile slurm       the same, heavy stages as Slurm jobs
#   snakemake --cores all --profile slurm -n    what Slurm would be asked for
#   snakemake --cores all show                  everything, and copies for Snakemake's own report:
#   snakemake show --report report.zip
#
# dvc.yaml is the only description: each of its stages becomes a rule here, and each job is a
# `dvc repro` of that one stage, by workflow/engine/run_stage.py. So DVC alone decides, by content,
# what is stale, and records what was run; Snakemake orders the stages, runs them in parallel and
# reserves their resources. The output of a rule is a mark, `.snakemake/stages/<stage>`, a file that
# exists as long as DVC finds the stage fresh.
#
# A stage with shards has a second rule, whose jobs process a share of its images each; the stage
# itself then merges their results.
import os
import shlex
import signal
import sys
from pathlib import Path

# Snakemake itself puts the Snakefile's folder on the path.
from rca.config import ConfigError, load
from workflow.engine.shown import shown
from workflow.engine.snakemake import MARKS, plan, read_plan, shard_marks

if workflow.is_main_process:
    # A job has no use for these, and should start quickly.
    from rca.data.images import DataError
    from workflow.engine import display, last_words, slurm

    try:
        slurm.require_slurm()
        params = load(Path("params.yaml"))
        stages = plan(params)
        slurm.prepare({"all", "show", *(stage["rule"] for stage in stages if stage["local"])})
    except (ConfigError, DataError) as error:
        sys.exit(f"snakemake: {error}")
    last_words.say_at_exit(stages)
    results = Path("results") / params.experiment
    display.prepare(workflow.output_settings, stages, results, slurm.is_asked_for())
else:
    stages = read_plan()

if "SLURM_JOB_ID" in os.environ:
    # Slurm sends SIGUSR1 to every process of a job before its time is up, which would kill them.
    # Children inherit the ignored signal, unless they set a handler of their own, as trainings do.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def has_gpu(resources):
    return not {"gpu", "gres"}.isdisjoint(resources)


def at_site(resources):
    """Return the resources of a job, with the site's partition for GPUs."""
    if "gpu_partition" in config and has_gpu(resources):
        return {**resources, "slurm_partition": config["gpu_partition"]}
    return resources


# What a job says, once it is in its log; on a terminal with bars it would be in their way.
SHOW = 'if [ "${RCA_SHOWN-}" ] && [ -t 1 ]; then cat > /dev/null; else cat; fi'


localrules:
    all,
    show,


rule all:
    input:
        [MARKS / stage["name"] for stage in stages],
    message:
        "every stage is done"


# Copies, for what a rule of Snakemake's makes it deletes first, and the stages' files are DVC's.
rule show:
    input:
        rules.all.input,
    output:
        [
            report(one.copy, caption=one.caption, category=one.category, labels=one.labels)
            for one in shown(stages)
        ],
    log:
        str(Path(stages[0]["log"]).with_name("show.log")),
    params:
        python=shlex.quote(sys.executable),
    message:
        "copied for snakemake --report"
    shell:
        "{params.python} -m workflow.engine.shown > {log} 2>&1"


def interpreter(stage, resources):
    """Return what runs Python in a job: this Python, or the site's image for a heavy stage."""
    if stage["local"] or "container" not in config:
        return shlex.quote(sys.executable)
    gpu = ["--nv"] if has_gpu(resources) else []
    return shlex.join(["apptainer", "exec", *gpu, config["container"], "python"])


if "container" in config and any(stage["resources"].get("nodes", 1) > 1 for stage in stages):
    sys.exit(
        "snakemake: compute.nodes above 1 calls srun, which the container has not: leave one out"
    )

for stage in stages:

    rule:
        name:
            stage["rule"]
        input:
            [ancient(MARKS / needed) for needed in stage["needs"]],
            [ancient(mark) for mark in shard_marks(stage)],
        output:
            MARKS / stage["name"],
        log:
            stage["log"],
        localrule: stage["local"]
        threads: stage["resources"].get("cpus_per_task", 1)
        resources:
            **at_site(stage["resources"]),
        params:
            python=interpreter(stage, stage["resources"]),
            stage=stage["name"],
            show=SHOW,
        message:
            f"{stage['name']}: {stage['desc']}"
        shell:
            "{params.python} -m workflow.engine.run_stage {params.stage}"
            " 2>&1 | tee {log} | {params.show} && touch {output}"

    if stage["shards"] > 1:

        rule:
            name:
                f"{stage['rule']}_shard"
            input:
                [ancient(MARKS / needed) for needed in stage["needs"]],
            output:
                shard_marks(stage, "{number}"),
            log:
                stage["log"].replace(".log", ".{number}.log"),
            threads: stage["shard_resources"].get("cpus_per_task", 1)
            resources:
                **at_site(stage["shard_resources"]),
            params:
                python=interpreter(stage, stage["shard_resources"]),
                stage=stage["name"],
                shards=stage["shards"],
                show=SHOW,
            message:
                f"{stage['name']}: share {{wildcards.number}} of {stage['shards']}"
            shell:
                "{params.python} -m workflow.engine.run_shard {params.stage}"
                " {wildcards.number}/{params.shards} 2>&1 | tee {log} | {params.show} && touch {output}"
