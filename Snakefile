# The pipeline of dvc.yaml, run by Snakemake: in parallel, and on a cluster.
#
#   snakemake --cores all            everything
#   snakemake --cores all crf        one stage and what it needs
#
# dvc.yaml is the only description: each of its stages becomes a rule here, and each job is a
# `dvc repro` of that one stage. So DVC alone decides, by content, what is stale, and keeps the books;
# Snakemake orders the stages, runs them side by side and reserves what they need. The output of a
# rule is a mark, `.snakemake/stages/<stage>`, that stands while DVC finds the stage fresh.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from rca.config import ConfigError, load
from stages import MARKS, plan, read_plan

if workflow.is_main_process:
    try:
        stages = plan(load(Path("params.yaml")).experiment)
    except ConfigError as error:
        sys.exit(f"snakemake: {error}")
else:
    stages = read_plan()


localrules:
    all,


rule all:
    input:
        [MARKS / stage["name"] for stage in stages],
    message:
        "every stage is done"


for stage in stages:

    rule:
        name:
            stage["rule"]
        input:
            [ancient(MARKS / needed) for needed in stage["needs"]],
        output:
            MARKS / stage["name"],
        log:
            stage["log"],
        message:
            f"{stage['name']}: {stage['desc']}"
        threads: stage["resources"].get("cpus_per_task", 1)
        resources:
            **stage["resources"],
        params:
            python=sys.executable,
            stage=stage["name"],
        shell:
            "{params.python:q} -m dvc --wait-for-lock repro --quiet --single-item {params.stage}"
            " 2>&1 | tee {log} && touch {output}"
