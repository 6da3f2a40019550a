"""`rca`: verbs, messages and exit codes; the stages themselves are stood in for."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image
from safetensors import SafetensorError

from rca import cli, config
from rca.cli.app import home
from rca.config import ConfigError
from rca.data.images import DataError
from rca.tracking.times import pipeline_span

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "data": "--data d",
    "index": "--index i",
    "weights": "--weights w",
    "attention": "--attention a",
    "cams": "--cams c",
    "maps": "--maps m",
    "labels": "--labels l",
    "results": "--results r",
    "evaluated": "--readout m --pseudo-labels p --crf f --relabel n --predictions s",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with the debug preset as params.yaml, and what a training leaves."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", "configs")
    Path("data").mkdir()
    Path("data/embedded").symlink_to(ROOT / "data/embedded")
    shutil.copyfile("configs/debug.yaml", "params.yaml")
    Path("o").mkdir()
    Path("o/weights.safetensors").touch()
    return tmp_path


def stand_in(monkeypatch, stage: str, run) -> None:
    monkeypatch.setitem(sys.modules, f"rca.stages.{stage}", SimpleNamespace(run=run))
    monkeypatch.setattr(f"rca.stages.{stage}", sys.modules[f"rca.stages.{stage}"], raising=False)


def rca(monkeypatch, arguments: str) -> int:
    """Exit status of `rca arguments`."""
    monkeypatch.setattr(sys, "argv", ["rca", *arguments.split()])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize(
    ("verb", "inputs", "sections", "paths"),
    [
        ("download", [], ["download"], {}),
        ("index", ["data"], ["index"], {"data": "d"}),
        ("train-cam", ["index"], ["train_cam", "compute", "seed"], {"index": "i"}),
        (
            "infer-cam",
            ["index", "weights", "attention"],
            ["infer_cam", "compute"],
            {"index": "i", "weights": "w", "attention": "a"},
        ),
        (
            "readout",
            ["index", "weights", "cams"],
            ["readout", "compute", "seed"],
            {"index": "i", "weights": "w", "cams": "c"},
        ),
        ("pseudo-labels", ["index", "maps"], ["pseudo_labels"], {"index": "i", "maps": "m"}),
        (
            "crf",
            ["index", "maps", "labels"],
            ["crf", "pseudo_labels"],
            {"index": "i", "maps": "m", "labels": "l"},
        ),
        (
            "relabel",
            ["index", "weights"],
            ["infer_seg", "crf", "compute"],
            {"index": "i", "weights": "w"},
        ),
        (
            "infer-seg",
            ["index", "weights"],
            ["infer_seg", "crf", "compute"],
            {"index": "i", "weights": "w"},
        ),
        (
            "evaluate",
            ["index", "cams", "evaluated"],
            ["evaluate", None],
            {
                "index": "i",
                "cams": "c",
                "readout": "m",
                "pseudo_labels": "p",
                "crf": "f",
                "relabel": "n",
                "predictions": "s",
            },
        ),
        (
            "report",
            ["index", "results"],
            ["report"],
            {"index": "i", "results": "r"},
        ),
    ],
)
def test_verb__hands_its_sections_and_paths_to_the_stage(
    folder, monkeypatch, verb, inputs, sections, paths
):
    calls = []
    stand_in(monkeypatch, verb.replace("-", "_"), lambda *cfg, **kw: calls.append((cfg, kw)))
    options = " ".join(FOLDERS[name] for name in inputs)

    assert rca(monkeypatch, f"{verb} {options} --out o") == 0

    params = config.load(Path("params.yaml"))
    (given, keywords), *others = calls
    assert not others
    assert list(given) == [getattr(params, section) if section else params for section in sections]
    wanted = {key: Path(value) for key, value in {**paths, "out": "o"}.items()}
    assert {key: value for key, value in keywords.items() if key in wanted} == wanted


def test_verb__notes_when_it_ran(folder, monkeypatch):
    def fail(*_, **__):
        raise ConfigError("no")

    options = "--index i --maps m --labels l --out results/e/crf"
    stand_in(monkeypatch, "crf", fail)
    assert rca(monkeypatch, f"crf {options}") == 2
    assert pipeline_span(Path("results/e")) is None

    stand_in(monkeypatch, "crf", lambda *_, **__: None)
    assert rca(monkeypatch, f"crf {options} --shard 2/2") == 0
    share = pipeline_span(Path("results/e"))
    assert rca(monkeypatch, f"crf {options}") == 0

    whole = pipeline_span(Path("results/e"))
    assert share.began <= share.ended < whole.ended
    assert whole.ended - whole.began > share.ended - share.began  # both count


def test_train_seg__is_told_of_its_own_supervision_alone(folder, monkeypatch):
    calls = []
    stand_in(monkeypatch, "train_seg", lambda *cfg, **keywords: calls.append((cfg, keywords)))
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("{pseudo: crf", "{truth: index, pseudo: crf"))

    rca(monkeypatch, "train-seg --supervision truth --index i --labels l --out o")

    ((section, _, seed), keywords), *_ = calls
    assert section.supervisions == {"truth": "index"} and keywords["supervision"] == "truth"
    assert seed == 0


@pytest.mark.parametrize(
    "stage",
    [
        "download",
        "index",
        "train_cam",
        "infer_cam",
        "readout",
        "pseudo_labels",
        "crf",
        "evaluate",
        "report",
        "track",
    ],
)
def test_paths__not_given_are_those_of_the_workflow(folder, monkeypatch, stage):
    calls = []
    stand_in(monkeypatch, stage, lambda *cfg, **keywords: calls.append(keywords))
    trained = Path("results/debug/train_cam")
    trained.mkdir(parents=True)
    (trained / "weights.safetensors").touch()
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["cmd"]
    names = {"${experiment}": "debug", "${download.name}": "voc12_animals_sample"}
    for placeholder, name in names.items():
        command = command.replace(placeholder, name)

    assert rca(monkeypatch, stage.replace("_", "-")) == 0

    wanted = dict(re.findall(r"--([a-z-]+) (\S+)", command))
    del wanted["params"]
    for option, value in wanted.items():
        assert calls[0][option.replace("-", "_")] == Path(value), option


def test_paths__of_one_of_several_results_are_to_be_given(folder, monkeypatch, capsys):
    assert rca(monkeypatch, "infer-seg") == 2
    said = capsys.readouterr().err
    assert "Missing option '--weights'" in said


def test_paths__name_the_experiment_of_the_parameter_file(folder, monkeypatch):
    calls = []
    stand_in(monkeypatch, "index", lambda *cfg, **keywords: calls.append(keywords))
    text = Path("params.yaml").read_text()
    Path("other.yaml").write_text(text.replace("experiment: debug", "experiment: other"))

    assert rca(monkeypatch, "index --data d --params other.yaml") == 0

    assert calls[0]["out"] == Path("results/other/index") and calls[0]["data"] == Path("d")


def test_home__is_the_repository_that_queued_the_experiment(monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert home() == Path(".")
    monkeypatch.setenv("DVC_ROOT", "/repository")
    assert home() == Path("/repository")


@pytest.mark.parametrize(("rank", "notes"), [("0", 1), ("1", 0)])
def test_training__has_its_machine_noted_once(folder, monkeypatch, rank, notes):
    stand_in(monkeypatch, "train_cam", lambda *_, **__: None)
    monkeypatch.setenv("RANK", rank)

    rca(monkeypatch, "train-cam --index i --out o")

    assert len(list(folder.glob("state/machines/*.json"))) == notes


@pytest.mark.parametrize(("option", "shard"), [("", (1, 1)), ("--shard 2/3", (2, 3))])
def test_shard__is_handed_to_the_stage(folder, monkeypatch, option, shard):
    calls = []
    stand_in(monkeypatch, "crf", lambda *cfg, **keywords: calls.append(keywords))

    rca(monkeypatch, f"crf --index i --maps m --labels l --out o {option}")

    assert calls[0]["shard"] == shard


@pytest.mark.parametrize("wrong", ["3/2", "0/2", "2", "a/b"])
def test_shard__that_is_none_is_refused(folder, monkeypatch, capsys, wrong):
    assert rca(monkeypatch, f"crf --index i --maps m --labels l --out o --shard {wrong}") == 2
    assert "is not a shard such as 2/4" in capsys.readouterr().err


def test_track__gets_the_whole_configuration(folder, monkeypatch):
    calls = []
    stand_in(monkeypatch, "track", lambda *cfg, **keywords: calls.append((cfg, keywords)))

    assert rca(monkeypatch, "track --results r --out o") == 0

    params = config.load(Path("params.yaml"))
    paths = {"results": Path("r"), "out": Path("o"), "home": Path(".")}
    assert calls == [((params.track, params), paths)]


def test_track__ends_with_the_scores_unless_an_engine_does(folder, monkeypatch, capsys):
    stand_in(monkeypatch, "track", lambda *_, **__: None)
    Path("r/evaluate").mkdir(parents=True)
    Path("r/evaluate/metrics.json").write_text('{"miou": {}, "products": {}}')
    rca(monkeypatch, "track --results r --out o")
    assert "Nothing is scored" in capsys.readouterr().out
    monkeypatch.setenv("RCA_EVENTS", str(folder / "events"))
    rca(monkeypatch, "track --results r --out o")
    assert capsys.readouterr().out == ""


def test_help__imports_no_heavy_library():
    heavy = ("torch", "mlflow", "dvc", "snakemake", "numpy", "PIL", "rich")
    code = f"import sys, rca.cli; print([name for name in {heavy} if name in sys.modules])"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("params.yaml: no"),
        DataError("a.jpg: cannot be decoded"),
        FloatingPointError("x"),
    ],
)
def test_main__shows_what_the_user_can_mend_as_one_message(folder, monkeypatch, capsys, error):
    def fail(*_, **__):
        raise error

    stand_in(monkeypatch, "index", fail)

    assert rca(monkeypatch, "index --data d --out o") == 2
    assert capsys.readouterr().err == f"rca: {error}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "x", "results/a"), "results/a: no space left on device; make room"),
        (
            PermissionError(errno.EACCES, "x", "results"),
            "results: permission denied; give yourself",
        ),
        (OSError(errno.EROFS, "x"), "the disk: read-only file system; write elsewhere"),
        (SafetensorError("I/O error: x (os error 28)"), "the disk: no space left on device; make"),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected"),
            "no space left on",
        ),
    ],
)
def test_main__says_in_one_line_what_the_disk_refuses(folder, monkeypatch, capsys, error, message):
    def fail(*_, **__):
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("while working on a.jpg") from cause

    stand_in(monkeypatch, "index", fail)

    assert rca(monkeypatch, "index --data d --out o") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and "what is done is kept" in said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
    ],
)
def test_main__says_in_one_line_that_memory_is_short(folder, monkeypatch, capsys, error):
    def fail(*_, **__):
        raise RuntimeError("while working on a.jpg") from error

    stand_in(monkeypatch, "index", fail)

    assert rca(monkeypatch, "index --data d --out o") == 2
    said = capsys.readouterr().err
    assert said.startswith("rca: not enough memory (") and said.count("\n") == 1


def test_main__a_disk_that_refuses_midway_leaves_nothing_and_the_stage_runs_again(folder):
    """A limit on the size of files stands for the disk: the sample has files above 20 kB."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}));"
        "sys.argv = ['rca', 'download', '--out', 'data/d']; from rca.cli import main; main()"
    )
    limited, free = (
        subprocess.run([sys.executable, "-c", code.format(size)], capture_output=True, text=True)
        for size in (20_000, -1)
    )
    said = limited.stderr.splitlines()
    assert limited.returncode == 2 and "Traceback" not in limited.stderr
    assert "file too large" in said[-1]
    assert free.returncode == 0 and (folder / "data/d/classes.txt").is_file()
    assert not list((folder / "data").glob(".*.partial"))


def test_main__lets_our_own_mistakes_through(folder, monkeypatch):
    stand_in(monkeypatch, "index", lambda *_, **__: [][0])

    with pytest.raises(IndexError):
        rca(monkeypatch, "index --data d --out o")


@pytest.mark.parametrize("verb", ["check", "index --data d --out o"])
def test_verbs__stop_at_a_wrong_key_of_any_section(folder, monkeypatch, capsys, verb):
    stand_in(monkeypatch, "index", lambda *_, **__: pytest.fail("the stage ran"))
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("crf:\n", "crf:\n  iteration: 3\n"))

    assert rca(monkeypatch, verb) == 2
    assert "crf.iteration: no such key" in capsys.readouterr().err


def test_check__accepts_a_file_elsewhere(folder, monkeypatch, capsys):
    assert rca(monkeypatch, "check --params configs/debug.yaml") == 0
    assert capsys.readouterr().out == "configs/debug.yaml: valid (experiment debug)\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "weights: data/embedded/mobile",
            "weights: data/mobile",
            "train_cam.backbone.weights: data/",
        ),
        (
            "archive: data/embedded/",
            "archive: data/",
            "download.archive: data/voc12_animals_sample",
        ),
    ],
)
def test_check__names_what_is_not_there(folder, monkeypatch, capsys, old, new, message):
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new))

    assert rca(monkeypatch, "check") == 2
    assert message in capsys.readouterr().err


def test_check__refuses_an_implementation_whose_library_is_missing(folder, monkeypatch, capsys):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["crf"]["implementation"] = "numba"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.setattr("rca.stages.check.find_spec", lambda name: None)

    assert rca(monkeypatch, "check") == 2
    assert (
        "pip install 'rca-wsss[numba]', or set crf.implementation: pydensecrf"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "timm/resnet81"}, "has no model resnet81; did you mean timm/resnet18"),
        ({"name": "timm/densenet121", "stride": 16}, "backbone.stride: timm/densenet121"),
    ],
)
def test_check__tries_a_network_of_timms(folder, monkeypatch, capsys, change, message):
    pytest.importorskip("timm")
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["train_seg"]["backbone"] |= change
    Path("params.yaml").write_text(yaml.safe_dump(params))

    assert rca(monkeypatch, "check") == 2
    assert message in capsys.readouterr().err


def own_photographs(folder: Path, masks: int) -> None:
    """Six photographs, some with a mask, as the data set of params.yaml."""
    for number in range(6):
        path = Path(f"photographs/{'cat' if number % 2 else 'dog'}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number, 0, 0)).save(path)
        if number < masks:
            mask = Path("photographs/masks") / path.parent.name / path.name
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 6)).save(mask)
    if masks:
        Path("photographs/classes.txt").write_text("cat\ndog\n")
    params = yaml.safe_load(Path("configs/own_folder.yaml").read_text())
    params["train_seg"]["supervisions"] = {"pseudo": "crf", "truth": "index"}
    Path("params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.parametrize(("masks", "status"), [(0, 2), (3, 2), (6, 0)])
def test_check__training_on_masks_needs_them(folder, monkeypatch, capsys, masks, status):
    own_photographs(folder, masks)

    assert rca(monkeypatch, "check") == status
    assert ("leave `truth` out" in capsys.readouterr().err) == bool(status)


def test_check__notes_what_changes_with_the_folder(folder, monkeypatch):
    own_photographs(folder, 0)
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("    truth: index\n", ""))

    def noted() -> str:
        assert rca(monkeypatch, "check --out seen.json") == 0
        return json.loads(Path("seen.json").read_text())["digest"]

    digests = [noted()]
    assert noted() == digests[0]
    shutil.copy("photographs/cat/1.png", "photographs/cat/11.png")
    digests.append(noted())
    Image.new("RGB", (8, 6), "red").save("photographs/cat/11.png")
    digests.append(noted())
    Path("photographs/cat/11.png").unlink()
    digests.append(noted())
    assert len(set(digests[:3])) == 3 and digests[3] == digests[0]


def test_check__looks_into_the_archive_for_masks_and_maps(folder, monkeypatch, capsys):
    with tarfile.open("set.tar", "w") as tar:
        tar.add("params.yaml", "classes.txt")
    text = (
        Path("params.yaml").read_text().replace("data/embedded/voc12_animals_sample.tar", "set.tar")
    )
    Path("params.yaml").write_text(text.replace("saliency: false", "saliency: true"))
    assert rca(monkeypatch, "check") == 2
    assert "readout.saliency: true needs saliency maps, and set.tar" in capsys.readouterr().err
    Path("params.yaml").write_text(text.replace("{pseudo: crf", "{truth: index, pseudo: crf"))
    assert rca(monkeypatch, "check") == 2
    assert "truth needs masks, and set.tar has none" in capsys.readouterr().err


def test_check__needs_room_for_what_the_run_will_write(folder, monkeypatch, capsys):
    usage = SimpleNamespace(free=10**8)
    monkeypatch.setattr("rca.stages.check.shutil.disk_usage", lambda _: usage)

    assert rca(monkeypatch, "check") == 2
    assert "has 0.1 GB free, and this run may write 0.4 GB more" in capsys.readouterr().err
    usage.free = 10**9
    assert rca(monkeypatch, "check") == 0


def test_check__stops_before_the_maps_of_the_paper_are_missed(folder, monkeypatch, capsys):
    assert rca(monkeypatch, "check --params configs/voc12_paper.yaml") == 2
    assert "set download.saliency" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("limit: 8", "limit: 9", True),
        ("iterations: 2", "iterations: 3", False),  # no concern of `index`
        ("limit: 8", "limit: 8 # still", False),
        ("limit: 8", "limt: 8", True),
    ],
)
def test_verbs__refuse_a_result_of_parameters_edited_meanwhile(
    folder, monkeypatch, capsys, old, new, refused
):
    def edit(*_, **__):
        text = Path("params.yaml").read_text()
        assert old in text
        Path("params.yaml").write_text(text.replace(old, new))

    stand_in(monkeypatch, "index", edit)

    assert rca(monkeypatch, "index --data d --out o") == (2 if refused else 0)
    message = capsys.readouterr().err
    assert ("index" in message) == refused


def test_report__refuses_any_edit_meanwhile(folder, monkeypatch, capsys):
    def edit(*_, **__):
        text = Path("params.yaml").read_text()
        Path("params.yaml").write_text(text.replace("iterations: 2", "iterations: 3"))

    stand_in(monkeypatch, "report", edit)

    assert rca(monkeypatch, "report --index i --results r --out o") == 2
    assert "was edited while the stage ran" in capsys.readouterr().err


def test_use__makes_a_preset_current_and_keeps_the_one_before(folder, monkeypatch, capsys):
    before = Path("params.yaml").read_text()

    assert rca(monkeypatch, "use voc12_paper") == 0

    assert config.load(Path("params.yaml")) == config.load(Path("configs/voc12_paper.yaml"))
    assert "$schema=workflow/schemas/" in Path("params.yaml").read_text()
    assert Path("params.yaml.bak").read_text() == before
    assert "experiment voc12_paper" in capsys.readouterr().out


def test_use__again_and_again_loses_no_edit(folder, monkeypatch, capsys):
    rca(monkeypatch, "use debug")
    for number in range(3):
        Path("params.yaml").write_text(f"{Path('params.yaml').read_text()}# edit {number}\n")
        for preset in ("voc12", "debug"):
            assert rca(monkeypatch, f"use {preset}") == 0

    kept = [path.read_text() for path in sorted(folder.glob("params.yaml.bak*"))]
    assert sorted(text.splitlines()[-1] for text in kept if "# edit" in text) == [
        "# edit 0", "# edit 1", "# edit 2",
    ]  # fmt: skip
    assert "# edit 2" in Path("params.yaml.bak").read_text()
    assert "; the one before is params.yaml.bak" in capsys.readouterr().out


def test_use__outside_a_checkout_takes_the_presets_of_the_package(folder, monkeypatch):
    shutil.rmtree("configs")
    assert rca(monkeypatch, "use own_folder") == 0
    assert config.load(Path("params.yaml")).experiment == "own_folder"


def test_use__help_lists_the_presets(folder, monkeypatch, capsys):
    assert rca(monkeypatch, "use --help") == 0
    assert "own_folder" in capsys.readouterr().out


def test_use__refuses_an_unknown_preset_and_names_the_known(folder, monkeypatch, capsys):
    before = Path("params.yaml").read_text()

    assert rca(monkeypatch, "use voc") == 2

    message = capsys.readouterr().err
    assert "no preset 'voc'" in message and "debug" in message and "voc12_paper" in message
    assert Path("params.yaml").read_text() == before


def test_use__refuses_a_preset_that_is_not_valid(folder, monkeypatch, capsys):
    before = Path("params.yaml").read_text()
    Path("configs/mine.yaml").write_text("experiment: mine\n")

    assert rca(monkeypatch, "use mine") == 2
    assert "download: missing" in capsys.readouterr().err
    assert Path("params.yaml").read_text() == before


def test_table__shows_every_product_aligned(folder, monkeypatch, capsys):
    product = {"iou": {}, "coverage": 100.0}
    interval = {"miou_interval": [53.1, 58.0]}
    metrics = {
        "miou": {
            "cam_seeds_train": 41.2345,
            "pseudo_labels_train": None,
            "cam_seeds_val": 30.0,
            "network_val": 55.5,
            "fully_supervised_val": 60.0,
            "ratio_to_fully_supervised": 0.925,
        },
        "products": {
            "cam_seeds_train": {"split": "train", "images": 200, "miou": 41.2345, **product},
            "pseudo_labels_train": {"split": "train", "images": 200, "miou": None, **product},
            "cam_seeds_val": {"split": "val", "images": 80, "miou": 30.0, **product},
            "network_val": {"split": "val", "images": 80, "miou": 55.5, **product, **interval},
            "fully_supervised_val": {"split": "val", "images": 80, "miou": 60.0, **product},
        },
    }
    Path("r/evaluate").mkdir(parents=True)
    Path("r/evaluate/metrics.json").write_text(json.dumps(metrics))
    Path("r/report").mkdir()
    Path("r/report/report.html").touch()

    assert rca(monkeypatch, "table --results r") == 0

    page = (folder / "r/report/report.html").as_uri()
    assert (
        capsys.readouterr().out
        == f"""\
                          split  images  mIoU in %   95 % interval    gain
CAM seeds                 train     200      41.23
Pseudo-labels             train     200       none
CAM seeds                 val        80      30.00
Segmentation network      val        80      55.50  53.10 to 58.00  +25.50
Same network, true masks  val        80      60.00
The network from tags reaches 92% of the one from true masks.
Report: {page}
"""
    )


def test_table__names_the_report_with_the_commit_unless_it_is_of_an_earlier_run(
    folder, monkeypatch, capsys
):
    Path("r/evaluate").mkdir(parents=True)
    Path("r/evaluate/metrics.json").write_text('{"miou": {}, "products": {}}')
    for made, stage in enumerate(("report", "track"), start=1):
        page = Path("r", stage, "report.html")
        page.parent.mkdir()
        page.touch()
        os.utime(page, (made, made))

    assert rca(monkeypatch, "table --results r") == 0
    assert "r/track/report.html" in capsys.readouterr().out
    os.utime("r/report/report.html", (3, 3))
    assert rca(monkeypatch, "table --results r") == 0
    assert "r/report/report.html" in capsys.readouterr().out


def test_table__of_a_run_that_is_not_evaluated_says_what_to_do(folder, monkeypatch, capsys):
    assert rca(monkeypatch, "table") == 2
    assert "results/debug/evaluate/metrics.json" in capsys.readouterr().err


def test_schema__is_that_of_the_configuration(folder, monkeypatch, capsys):
    assert rca(monkeypatch, "schema") == 0
    assert capsys.readouterr().out == config.json_schema()


def test_log__goes_to_stderr_with_time_and_stage(folder):
    code = (
        "import sys, types, logging;"
        "run = lambda *a, **k: logging.getLogger('rca.stages.index').info('%d images', 3);"
        "sys.modules['rca.stages.index'] = types.SimpleNamespace(run=run);"
        "sys.argv = ['rca', 'index', '--data', 'd', '--out', 'o'];"
        "from rca.cli import main; main()"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == ""
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in run.stderr.splitlines()]
    assert lines == ["index: 3 images", "index: done (0 s)"]
