"""What can be typed: --help without torch, --set as the last option, and the recipe."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from pcdet.cli import demo, test, train
from pcdet.cli.recipe import Recipe, recipe_of
from pcdet.cli.start import choose_split
from pcdet.config.schema.training import AMP_NAMES
from pcdet.engine.device_options import AMP_TYPES
from pcdet.utils.errors import ConfigError, PcdetError

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = {train: ["--cfg_file", "a.yaml"], test: ["--cfg_file", "a.yaml"]}
REQUIRED[demo] = ["--cfg_file", "a.yaml", "--ckpt", "a.pth", "--data", "scans"]
HEAVY = ("torch", "numba", "matplotlib", "tensorboardX", "spconv")


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh process has imported when `code` is done."""
    code += "\nimport sys; print('modules', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--ckpt", "none.pth"), r"^none\.pth: there is no such checkpoint"),
        (("--device", "gpu"), "--device gpu: not a device"),
        (("--score_thresh", "2"), "--score_thresh: expected a probability from 0 to 1, got 2"),
    ],
)
def test_the_demo_judges_its_options_before_it_reads_anything(tmp_path, option, told):
    (tmp_path / "any.pth").touch()
    options = ["--ckpt", str(tmp_path / "any.pth"), "--data", str(tmp_path / "none"), *option]
    with pytest.raises(PcdetError, match=told):
        demo.main(options)


@pytest.mark.parametrize("command", ["train", "test", "demo", "replay"])
def test_help_imports_nothing_heavy(command):
    """So it comes in a tenth of a second and not in seconds."""
    found = modules_after(
        "import contextlib, runpy, sys\n"
        f"sys.argv = ['tools/{command}.py', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    assert "pcdet" in found and "argparse" in found
    assert not found & set(HEAVY)


def test_own_data_tells_its_options_without_torch():
    code = (
        "import contextlib\nfrom pcdet.cli import custom\n"
        "with contextlib.suppress(SystemExit): custom.main(['--help'])"
    )
    assert not modules_after(code) & set(HEAVY)


def test_streets_are_simulated_without_torch(tmp_path):
    """It takes longer to import than some frames do to simulate."""
    code = (
        "from pcdet.simulator.__main__ import main\n"
        f"main(['--out', {str(tmp_path)!r}, '--train', '1', '--val', '1', '--test', '0'])"
    )
    assert "torch" not in modules_after(code)
    assert len(list((tmp_path / "training" / "velodyne").iterdir())) == 2


def test_labels_are_evaluated_without_torch(tmp_path):
    """It takes longer to import than KITTI's validation split to evaluate."""
    for kind, score in (("gt", ""), ("det", " 0.9")):
        (tmp_path / kind).mkdir()
        line = f"Car 0.00 0 -1.58 587 173 614 200 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59{score}\n"
        (tmp_path / kind / "000000.txt").write_text(line)
    command = ["--gt", str(tmp_path / "gt"), "--det", str(tmp_path / "det")]
    code = f"from pcdet.evaluation.__main__ import main\nassert main({command}) == 0"
    assert not modules_after(code) & set(HEAVY)


def test_the_configuration_is_read_without_torch():
    code = "from pcdet.config import *; cfg_from_yaml_file(find_yaml('second.yaml'), cfg)"
    assert not modules_after(code) & set(HEAVY)


def test_a_mistake_in_the_options_is_told_without_torch():
    command = [sys.executable, "-X", "importtime", str(ROOT / "tools" / "train.py")]
    command += ["--cfg_file", "a.yaml", "--seed", "-1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    imports = [line for line in lines if line.startswith("import time:")]
    assert lines[len(imports) :] == ["error: --seed must be at least 0, got -1"]
    assert not {line.split("|")[-1].strip() for line in imports} & set(HEAVY)


@pytest.mark.parametrize("command", REQUIRED)
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["A", "1", "--epochs", "3"], "--epochs"),
        (["A", "1", "--epochs=3"], "--epochs"),
        (["A", "--amp"], "--amp"),
        (["--help"], "--help"),
        (["A", "1", "-h"], "-h"),
        (["A", "1", "--set", "B", "2"], "--set"),
    ],
)
def test_an_option_after_set_is_named(command, words, named):
    with pytest.raises(ConfigError, match=f"^{named} after --set: --set must come last"):
        command.parse_args([*REQUIRED[command], "--set", *words])


@pytest.mark.parametrize("command", REQUIRED)
def test_what_follows_set_is_taken_as_it_is(command, capsys):
    words = ["A.B", "-1", "C", "[0.5, -2]", "D", "-x"]
    assert command.parse_args([*REQUIRED[command], "--set", *words]).set_cfgs == words
    assert command.parse_args(REQUIRED[command]).set_cfgs == []
    with pytest.raises(SystemExit):
        command.parse_args(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--set KEY value KEY value" in told and "must come last" in told


def train_recipe(*options: str, **optim_cfg) -> Recipe:
    return recipe_of(train.parse_args([*REQUIRED[train], *options]), optim_cfg)


def test_a_recipe_is_pcdets_by_default():
    assert train_recipe() == Recipe(80, None, None, 0, 0, False)


def test_the_yaml_sets_a_recipe_and_the_command_line_overrides_it():
    own = {"EPOCHS": 5, "BATCH_SIZE": 2, "AMP": "bf16", "PRECISE_BN": 30, "FREEZE_BN": 2}
    own["SYNC_BN"] = True
    assert train_recipe(LR=0.1, **own) == Recipe(5, 2, "bf16", 30, 2, True)
    options = ("--epochs", "7", "--batch_size", "6", "--amp", "fp16", "--precise_bn", "0")
    assert train_recipe(*options, **own) == Recipe(7, 6, "fp16", 0, 2, True)
    assert train_recipe("--freeze_bn", "0", "--amp", **own) == Recipe(5, 2, "bf16", 30, 0, True)
    assert train_recipe("--amp", "none", **own).amp is None
    assert train_recipe(AMP="none").amp is None


def test_a_recipe_whose_parts_do_not_fit_is_refused():
    message = "--freeze_bn must be less than --epochs, 2, got 2: the averages come from the epochs"
    with pytest.raises(ConfigError, match=message):
        train_recipe("--epochs", "2", FREEZE_BN=2)
    with pytest.raises(ConfigError, match="--freeze_bn must be less than --epochs, 80, got 80"):
        recipe_of(Namespace(**{**vars(Recipe()), "epochs": None, "freeze_bn": 80}), {})


def test_the_names_of_amp_are_those_of_its_types():
    assert tuple(AMP_TYPES) == AMP_NAMES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size", "0"], "--batch_size must be at least 1, got 0"),
        (["--workers", "-1"], "--workers must be at least 0, got -1"),
        (["--dist_timeout", "0"], "--dist_timeout must be above 0, got 0.0"),
        (["--dist_timeout", "nan"], "--dist_timeout must be above 0, got nan"),
        (["--dist_timeout", "inf"], "--dist_timeout must be at most 10000000, got inf"),
        (["--tcp_port", "0"], "--tcp_port must be at least 1, got 0"),
        (["--tcp_port", "65536"], "--tcp_port must be at most 65535, got 65536"),
    ],
)
def test_common_options_are_checked(words, message):
    for command in (train, test):
        with pytest.raises(ConfigError, match=message):
            command.parse_args([*REQUIRED[command], *words])


def test_processes_of_torchrun_need_its_launcher(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "1")
    test.parse_args(REQUIRED[test])
    monkeypatch.setenv("WORLD_SIZE", "4")
    test.parse_args([*REQUIRED[test], "--launcher", "pytorch"])
    for command in (train, test):
        with pytest.raises(ConfigError, match=r"torchrun started 4 .*give --launcher py"):
            command.parse_args(REQUIRED[command])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ckpt", "a.pth", "--eval_all"], "--ckpt and --eval_all exclude each other"),
        (["--ckpt", "a.pth", "--ckpt_dir", "a"], "--ckpt and --ckpt_dir exclude each other"),
        (["--start_epoch", "0"], "--start_epoch goes with --eval_all alone"),
        (["--max_waiting_mins", "3"], "--max_waiting_mins goes with --eval_all alone"),
        (["--report", "--amp"], "--report detects nothing, so --amp cannot go with it"),
    ],
)
def test_options_that_would_do_nothing_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        test.parse_args([*REQUIRED[test], *words])


@pytest.mark.parametrize("split", ["a/b", "", ".."])
def test_a_split_is_a_name(split):
    with pytest.raises(ConfigError, match=r"^--split: expected the name of a split, such as val"):
        choose_split(split)


def test_what_waiting_for_checkpoints_means_by_default():
    args = test.parse_args([*REQUIRED[test], "--eval_all"])
    assert (args.start_epoch, args.max_waiting_mins) == (0, 30)
    args = test.parse_args([*REQUIRED[test], "--eval_all", "--max_waiting_mins", "0"])
    assert args.max_waiting_mins == 0


def test_an_evaluation_has_one_name(capsys):
    with pytest.raises(SystemExit):
        test.parse_args([*REQUIRED[test], "--eval_tag", "mine/1"])
    assert "expected a name without slashes, got 'mine/1'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--extra_tag", "--eval_tag"])
@pytest.mark.parametrize("given", ["..", "a/../../b", "/abs", "", "."])
def test_the_name_of_a_run_stays_in_its_folder(option, given, capsys):
    with pytest.raises(SystemExit):
        test.parse_args(["--cfg_file", "a.yaml", option, given])
    assert f"expected a name, as of a folder in output/<yaml>, got {given!r}" in (
        capsys.readouterr().err
    )
    assert test.parse_args(["--cfg_file", "a.yaml", option, "mine"])
    assert test.parse_args(["--cfg_file", "a.yaml", "--extra_tag", "mine/1"])
