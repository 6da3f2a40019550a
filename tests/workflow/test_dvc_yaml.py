"""dvc.yaml against the CLI, the configuration and the imports: one word a stage, everywhere."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shlex
import shutil
from pathlib import Path

import grimp
import pytest
import typer
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.stage import PipelineStage

from rca import cli, config
from rca.cli.app import STAGE
from workflow.dependencies import dependencies, with_dependencies

ROOT = Path(__file__).parents[2]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
COMMANDS = typer.main.get_command(cli.app).commands
SMALL = {"check", "download", "index", "report", "track"}  # run where the engine runs
SHARED = {"infer_cam", "readout", "crf", "relabel", "infer_seg"}  # images are shared among jobs


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> dict[str, PipelineStage]:
    """The stages as DVC resolves them with the debug preset; of those of a name, the first."""
    root = tmp_path_factory.mktemp("stages")
    shutil.copy(ROOT / "dvc.yaml", root)
    shutil.copy(ROOT / "configs/debug.yaml", root / "params.yaml")
    found: dict[str, PipelineStage] = {}
    with contextlib.chdir(root):
        Repo.init(no_scm=True).close()
        for stage in Repo().index.stages:
            found.setdefault(stage.addressing.split("@")[0], stage)
    return found


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("rca", cache_dir=None)


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def parsed(stage: PipelineStage) -> tuple[str, dict]:
    """The verb of a stage's command and its options, as the CLI understands them."""
    verb, *arguments = shlex.split(stage.cmd.partition(" rca ")[2])
    return verb, COMMANDS[verb].make_context(verb, arguments).params


def params_of(stage: PipelineStage) -> list[str]:
    """Keys of params.yaml that invalidate a stage; none means all of the file."""
    return [key for dep in stage.deps if isinstance(dep, ParamsDependency) for key in dep.params]


def files_of(stage: PipelineStage) -> set[str]:
    return {dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)}


def test_stages__are_the_verbs_of_the_cli():
    verbs = [
        command.callback.__name__
        for command in cli.app.registered_commands
        if command.rich_help_panel == STAGE
    ]

    assert list(STAGES) == ["check", *verbs]


def test_stages__are_resolved_in_their_order(stages):
    # DVC runs independent stages in this order: a wrong key must stop `check` before `download`.
    assert list(stages) == STAGES


@pytest.mark.parametrize("name", STAGES)
def test_command__is_the_verb_of_the_stages_name_and_parses(stages, name):
    verb, options = parsed(stages[name])

    assert verb.replace("-", "_") == name
    assert options["params"] == Path("params.yaml")


@pytest.mark.parametrize("name", STAGES[1:])
def test_out__is_the_folder_of_the_stages_name(stages, name):
    _, options = parsed(stages[name])
    folder = options["out"].as_posix()

    if name == "download":
        assert folder.startswith("data/")
    else:
        assert f"/{name}" in folder and folder.startswith("results/")
    for out in stages[name].outs:
        assert out.def_path == folder or out.def_path.startswith(f"{folder}/")


@pytest.mark.parametrize("name", STAGES[1:])
def test_deps__hold_every_path_of_the_command(stages, name):
    _, options = parsed(stages[name])
    inputs = [
        value.as_posix()
        for key, value in options.items()
        if isinstance(value, Path)
        and key not in ("params", "out", "state")
        and (name, key) != ("evaluate", "relabel")  # dvc.yaml says why
    ]

    for path in inputs:
        assert any(dep == path or dep.startswith(f"{path}/") for dep in files_of(stages[name]))


@pytest.mark.parametrize("name", [name for name in STAGES[2:] if name != "index"])
def test_deps__of_the_data_set_are_its_sums_in_the_index(stages, name):
    # DVC looks at every file of a folder, for each stage that names it.
    index = "results/debug/index"
    assert {index, f"{index}/SHA256SUMS"} & files_of(stages[name])
    assert not any(dep == "data/voc12_animals_sample" for dep in files_of(stages[name]))


@pytest.mark.parametrize("name", STAGES[1:])
def test_deps__are_the_modules_that_the_stage_imports(stages, name):
    code = [dep for dep in files_of(stages[name]) if dep.startswith("rca/")]

    assert sorted(code) == dependencies(name), "run `make dependencies`"


def test_dependencies__are_written_as_they_stand():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    without_some = "".join(line for line in lines if "- rca/data/" not in line)
    with_more = text.replace("      - rca/stages/crf.py\n", "      - rca/stages/crf.py\n" * 2)

    assert with_dependencies(text) == text
    assert with_dependencies(without_some) == text != without_some
    assert with_dependencies(with_more) == text != with_more


def test_contributing__says_which_stages_import_each_folder(imports):
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `rca/(\w+)/` \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    users = {
        folder: [
            stage
            for stage in STAGES
            if any(
                module.startswith(f"rca.{folder}.")
                for module in imports.find_upstream_modules(f"rca.stages.{stage}")
            )
        ]
        for folder, _ in rows
    }
    words = {0: "none", len(STAGES): "all"}
    said = {
        folder: words.get(len(names), ", ".join(f"`{name}`" for name in names))
        for folder, names in users.items()
    }

    assert dict(rows) == {**said, "stages": "its own"}
    assert set(said) == {path.parent.name for path in ROOT.glob("rca/*/__init__.py")}


@pytest.mark.parametrize("name", STAGES)
def test_params__are_keys_of_the_configuration(stages, name):
    params = config.load(Path("configs/debug.yaml"))

    for key in params_of(stages[name]):
        value = params
        for part in key.split("."):
            assert part in type(value).model_fields, key
            value = getattr(value, part)


def test_params__leave_no_section_out(stages):
    whole = {name for name in STAGES if not params_of(stages[name])}
    used = {key.split(".")[0] for stage in stages.values() for key in params_of(stage)}

    assert whole == {"check", "report", "track"}
    # `experiment` names the folders; those who show all parameters use all.
    assert used | whole | {"experiment"} >= set(config.Params.model_fields)


@pytest.mark.parametrize("name", STAGES[1:])
def test_params__are_those_the_verb_guards(stages, name, monkeypatch):
    guarded = []

    def parameters(file, *keys, **_):
        guarded.extend(keys)
        raise InterruptedError

    monkeypatch.setattr(cli.stages, "parameters", parameters)
    verb, _ = parsed(stages[name])
    with pytest.raises(InterruptedError):
        cli.app(shlex.split(stages[name].cmd.partition(" rca ")[2]), standalone_mode=False)

    assert sorted(guarded) == sorted(params_of(stages[name])), verb


@pytest.mark.parametrize("name", STAGES)
def test_meta__says_what_slurm_should_reserve(stages, name):
    meta = stages[name].meta or {}
    if name in SMALL:
        assert meta == {}
        return
    slurm = meta["slurm"]

    assert {"mem_mb", "runtime"} <= set(slurm)
    assert set(slurm) <= {"mem_mb", "runtime", "gpu", "nodes", "cpus_per_task"}
    assert all(isinstance(value, int) and value > 0 for value in slurm.values())
    assert ("gpu" in slurm) == ("compute.device" in params_of(stages[name]))
    assert ("nodes" in slurm) == ("compute.gpus" in params_of(stages[name]))
    assert ("shards" in meta) == (name in SHARED)


@pytest.mark.parametrize("name", STAGES)
def test_desc__is_there(stages, name):
    assert stages[name].desc


def test_stages_folder__has_one_module_a_stage_and_no_other():
    modules = {path.stem for path in (ROOT / "rca/stages").glob("*.py")}

    assert modules == {*STAGES, "__init__"}


@pytest.mark.parametrize("name", STAGES)
def test_module__has_the_stages_name_and_a_run(name):
    module = ast.parse((ROOT / f"rca/stages/{name}.py").read_text(encoding="utf-8"))

    assert any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in module.body)


def test_dvcignore__hides_what_is_not_content():
    repo = Repo(str(ROOT))

    for path in ("rca/__pycache__/cli.pyc", ".venv/lib", "logs/demo/crf.log", "mlruns/0"):
        assert repo.dvcignore.is_ignored_file(os.path.join(ROOT, path))
