"""Reading yaml files and overwriting settings from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from easydict import EasyDict

from pcdet.config import cfg_from_list, cfg_from_yaml_file, log_config_to_file
from pcdet.config.schema import read_config
from pcdet.utils.errors import ConfigError

YAMLS = sorted((Path(__file__).parents[2] / "tools" / "cfgs").glob("*.yaml"))
SECOND = next(path for path in YAMLS if path.stem == "second")
ANCHORS = "MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR"


def make_config(name: str = "second") -> EasyDict:
    return cfg_from_yaml_file(SECOND.with_name(f"{name}.yaml"), EasyDict())


def value_at(config: EasyDict, key: str):
    node = config
    for name in key.split("."):
        node = node[int(name)] if name.isdigit() else node[name]
    return node


def test_a_fresh_config_is_complete():
    config = make_config()
    assert set(config) == {"CLASS_NAMES", "DATA_CONFIG", "MODEL", "TAG", "ROOT_DIR", "LOCAL_RANK"}
    assert config.TAG == "second" and config.LOCAL_RANK == 0 and config.ROOT_DIR.is_dir()
    config.ROOT_DIR = Path("/elsewhere")
    assert Path("/elsewhere") == cfg_from_yaml_file(SECOND, config).ROOT_DIR


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("MODEL.TRAIN.OPTIMIZATION.LR", "1", 1.0),
        ("MODEL.TEST.USE_RAW_SCORE", "False", False),
        ("DATA_CONFIG.DATA_DIR", "b", "b"),
        ("DATA_CONFIG.DATA_DIR", "'b'", "b"),
        ("DATA_CONFIG.DATA_DIR", "12", "12"),
        ("MODEL.TEST.NMS_PRE_MAXSIZE_LAST", "4", 4),
        ("CLASS_NAMES", "Car,Cyclist", ["Car", "Cyclist"]),
        ("CLASS_NAMES", "['Van']", ["Van"]),
        ("MODEL.TEST.RECALL_THRESH_LIST", "0.5", [0.5]),
        ("MODEL.TEST.RECALL_THRESH_LIST", "0.5, 0.7", [0.5, 0.7]),
        ("MODEL.TEST.BOX_FILTER.LIMIT_RANGE", "None", None),
        (f"{ANCHORS}.0.sizes.0.1", "5", 5.0),
        (f"{ANCHORS}.1.sizes", "[[1, 2, 3]]", [[1, 2, 3]]),
        # Keys that second.yaml leaves out.
        ("MODEL.TRAIN.OPTIMIZATION.EPOCHS", "4", 4),
        ("MODEL.RPN.BACKBONE.ARGS.num_filters", "8,16,32,32", [8, 16, 32, 32]),
    ],
)
def test_set_converts_to_the_type_that_the_schema_declares(key, text, expected):
    config = make_config()
    cfg_from_list([key, text], config)
    value = value_at(config, key)
    assert value == expected and type(value) is type(expected)


def test_set_adds_an_entry_with_a_name_of_its_own():
    config = make_config("PartA2")
    sizes = "MODEL.RPN.BACKBONE.TARGET_CONFIG.MEAN_SIZE"
    cfg_from_list([f"{sizes}.Van", "1.9,4.8,2.2"], config)
    assert value_at(config, f"{sizes}.Van") == [1.9, 4.8, 2.2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["MODEL.TRAIN.OPTIMIZATION.LRR", "1"],
            "in MODEL.TRAIN.OPTIMIZATION: unknown .*'LRR'.*'LR'",
        ),
        (["MODLE.LR", "1"], "in the configuration: unknown key 'MODLE'.* did you mean 'MODEL'"),
        (["MODEL.TEST.NMS_PRE_MAXSIZE_LAST", "many"], "expected a whole number .*got 'many'"),
        (["MODEL.TEST.USE_RAW_SCORE", "1"], "expected True or False, got 1"),
        (["MODEL.TEST.SPLIT"], "pairs of key and value"),
        ([f"{ANCHORS}.7.sizes", "1"], "no entry '7' in a list of 3"),
        ([f"{ANCHORS}.\u00b2.sizes", "1"], "no entry '\u00b2' in a list of 3"),
        (["MODEL.NAME.DEEP", "1"], "MODEL.NAME: it has no keys, got 'DEEP'"),
        (["MODEL.TRAIN.OPTIMIZATION.EPOCHS.DEEP", "1"], "it has no keys, got 'DEEP'"),
        (["MODEL.TRAIN.OPTIMIZATION.DECAY_STEP_LIST", "a,b"], "expected a list of whole numbers"),
        (["MODEL.TRAIN.OPTIMIZATION.LR", "1e999"], "expected a number above 0, got inf"),
        (["MODEL.TRAIN.OPTIMIZATION.LR", "None"], "expected a number above 0, got None"),
        (["MODEL.TRAIN.OPTIMIZATION.MOMS", "'x'"], "expected 2 numbers of at least 0 and below 1"),
        (["MODEL.TEST.NMS_TYPE", "nms"], "expected one of .*'nms_gpu'.* did you mean 'nms_gpu'"),
        (["TAG", "x"], "unknown key 'TAG'"),
    ],
)
def test_set_names_what_does_not_fit(words, message):
    with pytest.raises(ConfigError, match=f"--set.*{message}") as error:
        cfg_from_list(words, make_config())
    assert len(words) == 1 or f"--set {words[0]}: " in str(error.value)


def test_settings_must_fit_together_after_set():
    words = ["DATA_CONFIG.POINT_CLOUD_RANGE", "0,0,0,0,1,1"]
    with pytest.raises(ConfigError, match=r"^--set: .*RANGE: expected minima below maxima"):
        cfg_from_list(words, make_config())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("CLASS_NAMES: [", "not valid yaml"),
        ("just text", "expected keys and values"),
        ("CLASS_NAMES: []\nDATA_CONFIG: {}\nMODEL: {}\nMODLE: {}", "unknown key 'MODLE'"),
        ("CLASS_NAMES: []\nMODEL: {}", "'DATA_CONFIG' is missing"),
        ("CLASS_NAMES: !!python/object/apply:os.system ['true']", "not valid yaml"),
    ],
)
def test_broken_yaml_is_named(tmp_path, content, message):
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        cfg_from_yaml_file(path, EasyDict())
    assert str(path) in str(error.value)


def test_missing_yaml_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        cfg_from_yaml_file(tmp_path / "none.yaml", EasyDict())


def test_every_setting_is_logged(caplog):
    with caplog.at_level("INFO"):
        log_config_to_file(make_config())
    assert "cfg.MODEL.TRAIN.OPTIMIZATION.LR: 0.003" in caplog.text
    assert "cfg.CLASS_NAMES: ['Car', 'Pedestrian', 'Cyclist']" in caplog.text


def leaves(node, path=()):
    """Paths to all values that are no sections."""
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]
    return [path]


@pytest.mark.parametrize("odd", ["text", None, -0.5, [None], {"a": 1}, float("nan"), "1e-3"])
@pytest.mark.parametrize("name", ["second_demo", "pointpillar", "PartA2"])
def test_a_value_of_another_kind_is_named_with_its_key(name, odd):
    """These three files have all keys that there are in the package's."""
    good = yaml.safe_load(SECOND.with_name(f"{name}.yaml").read_text())
    read_config(good)
    may_be_null = {"LIMIT_RANGE", "filter_by_difficulty", "filter_by_min_points", "AMP"}
    may_be_null |= {"NMS_PRE_MAXSIZE", "NMS_POST_MAXSIZE", "RPN_NMS_THRESH", "RPN_NMS_TYPE"}
    may_be_null |= {"DOWNSAMPLE_FACTOR", "BATCH_SIZE"}
    for path in leaves(good):
        node = good
        for key in path[:-1]:
            node = node[key]
        old, node[path[-1]] = node[path[-1]], odd
        fits = isinstance(odd, str) and isinstance(old, str)
        fits |= isinstance(odd, float) and odd == odd and isinstance(old, (int, float))
        fits |= odd is None and path[-1] in may_be_null
        if not fits:
            with pytest.raises(ConfigError, match=rf"^{'.'.join(path)}: expected .*, got"):
                read_config(good)
        node[path[-1]] = old


def test_yaml_text_that_looks_a_number_has_a_remedy(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SECOND.read_text().replace("LR: 0.003", "LR: 3e-3"))
    with pytest.raises(ConfigError, match=r"small\.yaml: .*\.LR: .*got '3e-3'; .* write 1\.0e-3"):
        cfg_from_yaml_file(path, EasyDict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A: 1\nB: 2\nA: 3\n", "line 3: the key 'A' is given a second time"),
        ("1: x\n", "the key '1' is no text"),
        ("items: x\n", "'items' cannot be a key"),
        ("a: &a [x, *a]\n", "an alias that contains itself"),
        ("A: [10, 012]\n", "line 1: yaml may read 012 as another number"),
        ("A: 1\nB: 1:30\n", "line 2: yaml may read 1:30 as another number"),
        ("a: 2026-99-99\n", "not valid yaml"),
        ("[" * 1200, "not valid yaml"),
        (
            "".join(f"k{k}: &a{k} {{x: *a{k - 1}, y: *a{k - 1}}}\n" if k else "k0: &a0 {}\n"
                    for k in range(30)),
            "more than 50000 values, through aliases",
        ),
        (
            "".join(f"k{k}: &a{k} {{<<: [*a{k - 1}, *a{k - 1}]}}\n" if k else "k0: &a0 {p: 1}\n"
                    for k in range(30)),
            "more than 50000 values, through aliases",
        ),
        ("x" * 300_000, "at most 262144 bytes"),
    ],
    ids=[
        "twice", "number", "method", "cycle", "octal", "sixty", "date", "deep", "laughs", "merges",
        "large",
    ],
)  # fmt: skip
def test_yaml_that_would_take_long_or_mean_two_things(tmp_path, content, message):
    path = tmp_path / "bomb.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        cfg_from_yaml_file(path, EasyDict())
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["(" * 5000, "[" * 300 + "]" * 300, "1" * 10_000, "{[]: 1}"])
def test_set_with_text_that_python_cannot_parse(text):
    config = make_config()
    cfg_from_list(["DATA_CONFIG.DATA_DIR", text], config)
    assert text == config.DATA_CONFIG.DATA_DIR
    with pytest.raises(ConfigError, match=r"MODEL\.TEST\.NMS_PRE_MAXSIZE_LAST"):
        cfg_from_list(["MODEL.TEST.NMS_PRE_MAXSIZE_LAST", text], config)
