"""A folder of one's own data (docs/own_data.md): files, lists, infos, and what the infos hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcdet.doctor.data_folder import database_finding, infos_finding, listed_frames
from pcdet.doctor.findings import Finding
from pcdet.utils.preparing_commands import prepare_command

if TYPE_CHECKING:
    from pcdet.datasets.custom.folder import CustomFolder

_SPLITS = ("train", "val")


def is_own_data(root: Path) -> bool:
    """Tell whether a folder has the layout of one's own data."""
    return (root / "points").is_dir() or (root / "labels").is_dir()


def examine_own_data(root: Path, settings: Callable[[], tuple[Any, bool, bool]]) -> list[Finding]:
    """The data folder and its labelled frames.

    Args:
        root: the folder.
        settings: gives POINT_CLOUD_RANGE, if it is known, and whether the intensity is used.
    """
    from pcdet.datasets.custom.folder import CustomFolder
    from pcdet.own_data.columns import find_columns
    from pcdet.utils.errors import PcdetError

    findings = [Finding("data folder", f"{root}, one's own data")]
    try:
        columns, source = find_columns(root)
    except PcdetError as error:
        return [*findings, Finding("columns", "cannot be told", str(error), broken=True)]
    findings.append(Finding("columns", f"{', '.join(columns)} (from {source})"))
    folder = CustomFolder(root, columns)
    try:
        findings.append(_files(folder))
    except PcdetError as error:
        broken = Finding("points, labels", "cannot be listed", str(error), broken=True)
        return [*findings, broken]
    findings += [_split(root, split) for split in _SPLITS]
    infos: list[Any] = []
    for split in _SPLITS:
        names = listed_frames(root, split)
        if names:
            path = root / f"custom_infos_{split}.pkl"
            findings.append(infos_finding(path, f"ImageSets/{split}.txt", len(names), _run(root)))
            infos += _read(path, folder, findings)
    findings.append(database_finding(root / "custom_dbinfos_train.pkl", _run(root)))
    return [*findings, *_report(folder, infos, *settings()[:2])]


def _run(root: Path) -> str:
    return f"run `{prepare_command(root)}`"


def _files(folder: CustomFolder) -> Finding:
    """Counts of scans and labels; labels without a scan are amiss."""
    from pcdet.utils.point_files import list_scans

    scans = {path.stem for path in list_scans(folder.root / "points")}
    labelled = folder.labelled_frames()
    finding = Finding("points, labels", f"{len(scans)} scans, {len(labelled)} labelled frames")
    missing = [name for name in labelled if name not in scans]
    if missing or not labelled:
        finding.broken = True
        finding.advice = (
            f"{folder.root}: {len(missing)} labelled frames have no scan, the first is {missing[0]}"
            if missing
            else f"{folder.root / 'labels'}: expected a label file <frame>.txt for each frame"
        )
    return finding


def _split(root: Path, split: str) -> Finding:
    name, names = f"ImageSets/{split}.txt", listed_frames(root, split)
    if names:
        return Finding(name, f"{len(names)} frames")
    if names is None:
        return Finding(name, "missing", f"{root / name} is missing: to draw it, {_run(root)}", True)
    return Finding(name, "empty or damaged", f"{root / name} is empty or damaged: mend it", True)


def _read(path: Path, folder: CustomFolder, findings: list[Finding]) -> list[Any]:
    """The infos of a file that is there; what is wrong with them is added to the findings."""
    from pcdet.datasets.custom.infos import check_files_unchanged, load_infos
    from pcdet.utils.errors import DataError

    if not path.is_file():
        return []
    try:
        infos = load_infos(path, has_label=True)
        check_files_unchanged(folder, infos)
    except DataError as error:
        findings.append(Finding(path.name, "not as it should be", str(error), broken=True))
        return []
    return infos


def _report(
    folder: CustomFolder, infos: list[Any], limit_range: Any, uses_intensity: bool
) -> list[Finding]:
    """The table of classes and what in it cannot be right, as `pcdet-custom check` tells them."""
    from pcdet.own_data.facts import folder_warnings, frame_facts
    from pcdet.utils.data_report import class_table, count_objects, data_warnings

    if not infos:
        return []
    facts = frame_facts(infos)
    lines = class_table(facts, limit_range).splitlines()
    warnings = [
        *folder_warnings(folder, list(count_objects(facts))),
        *data_warnings(facts, limit_range, uses_intensity),
    ]
    findings = [Finding("" if k else "labelled frames", line) for k, line in enumerate(lines)]
    return findings + [Finding("data", "amiss", line, broken=True) for line in warnings]
