"""Checks of the yaml's sections, done once where a data set is configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pcdet.utils.errors import ConfigError, check_keys


def read_section(
    config: Mapping[str, Any], where: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Return `config` if it holds every required key and no unknown one.

    Args:
        config: a section of the yaml.
        where: its key path, or the class it configures, for the message.
        required: keys that must be there.
        optional: keys that may be there.

    Raises:
        ConfigError: the section is no mapping, lacks a key, or has an unknown one.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where}: expected a mapping with keys {list(required)}, got {config!r}")
    check_keys(config, optional, where, required)
    return config


def read_entry(config: Mapping[str, Any], path: str) -> Any:
    """Return the value at a key path such as "MODEL.TEST.SPLIT".

    Raises:
        ConfigError: a key on the way is missing; it and its section are named.
    """
    value, where = config, "the yaml"
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise ConfigError(f"{where}: the key {key!r} is missing")
        value, where = value[key], key if where == "the yaml" else f"{where}.{key}"
    return value


def read_numbers(value: Any, where: str, count: int) -> list[float]:
    """Return `value` as a list of `count` floats, or raise a ConfigError that names `where`."""
    try:
        numbers = [float(v) for v in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count:
        raise ConfigError(f"{where}: expected {count} numbers, got {value!r}")
    return numbers


def read_named_numbers(values: Sequence[str], where: str) -> dict[str, int]:
    """Parse entries such as `Car:15` into {class name: number}."""
    numbers = {}
    for entry in values:
        name, colon, number = str(entry).rpartition(":")
        if not colon or not number.strip().isdigit():
            raise ConfigError(f"{where}: expected entries like 'Car:5', got {entry!r}")
        numbers[name.strip()] = int(number)
    return numbers


def read_class_map(class_map: Mapping[str, str], class_names: Sequence[str]) -> dict[str, str]:
    """Labels that count as a class in training, such as {"Van": "Car"}.

    Raises:
        ConfigError: a value is not one of the classes.
    """
    for label, name in class_map.items():
        if name not in class_names:
            raise ConfigError(
                f"DATA_CONFIG.CLASS_MAP.{label}: expected one of CLASS_NAMES, {list(class_names)}, "
                f"got {name!r}"
            )
    return dict(class_map)
