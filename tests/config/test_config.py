"""Reading yaml files and overwriting settings from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from easydict import EasyDict

from pcdet.config import cfg_from_list, cfg_from_yaml_file, log_config_to_file
from pcdet.config.types import check_types
from pcdet.utils.errors import ConfigError


def make_config() -> EasyDict:
    return EasyDict(
        CLASS_NAMES=["Car"],
        MODEL={"LR": 0.003, "ON": True, "NAME": "a", "SIZES": [[1.0, 2.0]], "N": 3},
    )


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("MODEL.LR", "1", 1.0),
        ("MODEL.ON", "False", False),
        ("MODEL.NAME", "b", "b"),
        ("MODEL.N", "4", 4),
        ("CLASS_NAMES", "Car,Cyclist", ["Car", "Cyclist"]),
        ("CLASS_NAMES", "['Van']", ["Van"]),
        ("MODEL.SIZES.0.1", "5", 5.0),
    ],
)
def test_set_converts_to_the_type_of_the_setting(key, text, expected):
    config = make_config()
    cfg_from_list([key, text], config)
    node = config
    for name in key.split("."):
        node = node[int(name)] if name.isdigit() else node[name]
    assert node == expected and type(node) is type(expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL.LRR", "1"], "no 'LRR' in MODEL"),
        (["MODLE.LR", "1"], "no 'MODLE' in the configuration"),
        (["MODEL.N", "many"], "expected a int"),
        (["MODEL.ON", "1"], "expected a bool"),
        (["MODEL.LR"], "pairs of key and value"),
        (["MODEL.SIZES.7.0", "1"], "no '7'"),
        (["MODEL.N.DEEP", "1"], "no 'DEEP'"),
    ],
)
def test_set_names_what_does_not_fit(words, message):
    with pytest.raises(ConfigError, match=message):
        cfg_from_list(words, make_config())


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("DECAY_STEP_LIST", "a,b", "expected a list of whole numbers"),
        ("LR", "1e999", "expected a number, got inf"),
        ("MOMS", "'x'", "expected a list of numbers"),
    ],
)
def test_set_takes_the_kinds_of_values_that_a_yaml_does(key, text, message):
    config = EasyDict(A={"DECAY_STEP_LIST": [1, 2], "LR": 0.1, "MOMS": [0.9, 0.8]})
    with pytest.raises(ConfigError, match=rf"--set: A\.{key}: {message}"):
        cfg_from_list([f"A.{key}", text], config)


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
    assert "cfg.MODEL.LR: 0.003" in caplog.text and "cfg.CLASS_NAMES: ['Car']" in caplog.text


YAMLS = sorted((Path(__file__).parents[2] / "tools" / "cfgs").glob("*.yaml"))


def leaves(node, path=()):
    """Paths to all values that are no sections."""
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]
    return [path]


@pytest.mark.parametrize("odd", ["text", None, -0.5, [None], {"a": 1}, float("nan"), "1e-3"])
@pytest.mark.parametrize("file", YAMLS, ids=lambda path: path.stem)
def test_a_value_of_another_kind_is_named_with_its_key(file, odd):
    """Every key of every yaml, but those with names of classes, takes some kind of value."""
    good = yaml.safe_load(file.read_text())
    check_types(good, "good.yaml")
    for path in leaves(good):
        node = good
        for key in path[:-1]:
            node = node[key]
        old, node[path[-1]] = node[path[-1]], odd
        fits = isinstance(odd, str) and isinstance(old, str)
        fits |= isinstance(odd, float) and odd == odd and isinstance(old, (int, float))
        fits |= odd == -0.5 and path[-1] == "MATCHED_THRESHOLD"  # a number, or a list
        fits |= odd is None and path[-1] in ("LIMIT_RANGE", "filter_by_difficulty")
        fits |= odd is None and path[-1] == "filter_by_min_points"
        by_class = "MEAN_SIZE" in path or "CLASS_MAP" in path
        if not (fits or by_class or path[-1] == "NUM_POINT_FEATURES"):
            with pytest.raises(ConfigError, match=rf"odd\.yaml: {'.'.join(path)}: expected "):
                check_types(good, "odd.yaml")
        node[path[-1]] = old


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A: 1\nB: 2\nA: 3\n", "line 3: the key 'A' is given a second time"),
        ("1: x\n", "the key '1' is no text"),
        ("items: x\n", "'items' cannot be a key"),
        ("a: &a [x, *a]\n", "an alias that contains itself"),
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
    ids=["twice", "number", "method", "cycle", "date", "deep", "laughs", "merges", "large"],
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
    cfg_from_list(["MODEL.NAME", text], config) if text[0] != "[" else None
    with pytest.raises(ConfigError, match=r"MODEL\.N"):
        cfg_from_list(["MODEL.N", text], config)
