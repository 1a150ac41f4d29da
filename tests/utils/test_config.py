"""Reading yaml files and overwriting settings from the command line."""

from __future__ import annotations

import pytest
from easydict import EasyDict

from pcdet.config import cfg_from_list, cfg_from_yaml_file, log_config_to_file
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
