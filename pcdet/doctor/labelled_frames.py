"""What the infos hold: the table of classes, what in it cannot be right, labels changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pcdet.doctor.data_folder import preparation
from pcdet.doctor.findings import Finding

_SPLITS = ("train", "val")


def examine_labelled_frames(root: Path, cfg_file: str | None) -> list[Finding]:
    """The report of the data, as their preparation ends with it; nothing without infos.

    Args:
        root: the data folder.
        cfg_file: a yaml whose POINT_CLOUD_RANGE and points count, or None.
    """
    if not any((root / f"kitti_infos_{split}.pkl").is_file() for split in _SPLITS):
        return []
    from pcdet.utils.kitti_format.frame_facts import data_report, frames_of_infos

    limit_range, uses_intensity, only_seen = settings_of(cfg_file)
    findings, frames = [], {}
    for split in _SPLITS:
        infos, facts = _read(root / f"kitti_infos_{split}.pkl", findings)
        frames[split] = frames_of_infos(infos, facts, only_seen)
        findings += _changes(root, split, facts)
    if not any(frames.values()):
        return findings
    lines, warnings = data_report(frames, limit_range, uses_intensity)
    findings += [Finding("labelled frames" if k == 0 else "", line) for k, line in enumerate(lines)]
    return findings + [Finding("data", "amiss", line, broken=True) for line in warnings]


def data_config_of(cfg_file: str) -> Any:
    """DATA_CONFIG of a yaml."""
    from easydict import EasyDict

    from pcdet.config import cfg_from_yaml_file, find_yaml

    return cfg_from_yaml_file(find_yaml(cfg_file), EasyDict()).DATA_CONFIG


def settings_of(cfg_file: str | None) -> tuple[Any, bool, bool]:
    """Of a yaml: the range, whether the intensity is used, whether only what the camera sees is."""
    if cfg_file is None:
        return None, True, True
    from pcdet.utils.data_report.facts import INTENSITY

    data = data_config_of(cfg_file)
    uses_intensity = data.NUM_POINT_FEATURES.use > INTENSITY
    return data.POINT_CLOUD_RANGE, uses_intensity, data.FOV_POINTS_ONLY


def _read(path: Path, findings: list[Finding]) -> tuple[list[Any], dict[str, Any]]:
    """Infos and facts of their frames; what is wrong with them is added to the findings."""
    from pcdet.utils.errors import DataError
    from pcdet.utils.info_record import read_record
    from pcdet.utils.kitti_format.infos import load_infos

    if not path.is_file():
        return [], {}
    try:
        return load_infos(path), (read_record(path) or {}).get("facts", {})
    except DataError as error:
        findings.append(Finding(path.name, "not as it should be", str(error), broken=True))
        return [], {}


def _changes(root: Path, split: str, facts: dict[str, Any]) -> list[Finding]:
    from pcdet.utils.kitti_format.folders import TRAINING
    from pcdet.utils.kitti_format.frame_facts import changed_files, told_change

    changed = changed_files(root / TRAINING, facts)
    if not changed:
        return []
    advice = f"{told_change(changed)}: run {preparation(root)}"
    return [Finding(f"kitti_infos_{split}.pkl", "older than its labels", advice, broken=True)]
