"""The constants of KITTI's object benchmark: difficulties, neighbouring classes, overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from numbers import Real

from pcdet.utils.errors import ConfigError
from pcdet.utils.file_checks import is_class_name
from pcdet.utils.kitti_format import label

Difficulty, DIFFICULTIES = label.Difficulty, label.DIFFICULTIES
NO_ALPHA, NO_LOCATION = label.NO_ALPHA, label.NO_LOCATION
DONT_CARE = label.DONT_CARE.lower()

METRICS = ("bbox", "aos", "bev", "3d")
METRIC_TITLES = {"bbox": "2D", "aos": "AOS", "bev": "BEV", "3d": "3D"}

# A ground truth of the neighbour is neither hit nor miss for the class. All names in lower case.
NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}

CLASS_NAMES = ("Car", "Pedestrian", "Cyclist")
OVERLAPS = {
    "car": 0.7,
    "pedestrian": 0.5,
    "cyclist": 0.5,
    "van": 0.7,
    "truck": 0.7,
    "tram": 0.7,
    "person_sitting": 0.5,
}
LOOSE_OVERLAPS = {
    "car": 0.5,
    "pedestrian": 0.25,
    "cyclist": 0.25,
    "van": 0.5,
    "truck": 0.5,
    "tram": 0.5,
    "person_sitting": 0.25,
}
# That of a class that KITTI does not know, if nothing else is said.
OTHER_OVERLAP = 0.5
# The overlaps and metrics that are reported together: the benchmark's own, and PCDet's looser ones.
OVERLAP_SETS = ((OVERLAPS, METRICS), (LOOSE_OVERLAPS, ("bev", "3d")))


def check_class_names(class_names: Sequence[str], where: str = "classes") -> tuple[str, ...]:
    """Return the classes to evaluate as a tuple.

    Args:
        class_names: their names.
        where: the option or key that names them, for the message.

    Raises:
        ConfigError: none is named, one is named twice (case does not count), one is DontCare or
            cannot stand in a label file.
    """
    if isinstance(class_names, str):
        raise ConfigError(f"{where}: expected a list of names, got the string {class_names!r}")
    names = tuple(str(name) for name in class_names)
    if not names:
        raise ConfigError(f"{where}: expected at least one class name, got none")
    seen = set()
    for name in names:
        if not is_class_name(name):
            raise ConfigError(
                f"{where}: expected a name without blanks, slashes or colons, got {name!r}"
            )
        if name.lower() == DONT_CARE:
            raise ConfigError(f"{where}: {name!r} marks regions without labels and has no AP")
        if name.lower() in seen:
            raise ConfigError(f"{where}: {name!r} is named twice")
        seen.add(name.lower())
    return names


def overlap_sets(overlaps: Mapping[str, float], class_names: Sequence[str]) -> tuple:
    """Return `OVERLAP_SETS` with those of further classes.

    Args:
        overlaps: of classes that KITTI does not know; `OTHER_OVERLAP` of one that is not in it.
            Half of it is the looser one.
        class_names: the classes to evaluate.

    Raises:
        ConfigError: an overlap is given for a class that is not evaluated, or that KITTI knows.
    """
    check_given_overlaps(overlaps, class_names)
    for name in overlaps:
        if name.lower() in OVERLAPS:
            raise ConfigError(
                f"MODEL.TEST.EVAL_OVERLAPS: class {name!r} has {OVERLAPS[name.lower()]} by KITTI's "
                f"rules, got {overlaps[name]}: take it out; `python -m pcdet.evaluation` has "
                "--overlaps for others"
            )
    others = [name for name in class_names if name.lower() not in OVERLAPS]
    strict = {name.lower(): overlaps.get(name, OTHER_OVERLAP) for name in others}
    loose = {name: value / 2 for name, value in strict.items()}
    return (
        ({**OVERLAPS, **strict}, METRICS),
        ({**LOOSE_OVERLAPS, **loose}, OVERLAP_SETS[1][1]),
    )


def check_given_overlaps(overlaps: Mapping[str, float], class_names: Sequence[str]) -> None:
    """Raise a ConfigError if MODEL.TEST.EVAL_OVERLAPS names a class that is not evaluated."""
    for name in overlaps:
        if name not in class_names:
            raise ConfigError(
                f"MODEL.TEST.EVAL_OVERLAPS: class {name!r} is not in CLASS_NAMES, "
                f"{list(class_names)}"
            )


def overlaps_of(
    class_names: Sequence[str], overlaps: Mapping[str, float] | Sequence[float] | None = None
) -> dict[str, float]:
    """Return the overlap that a hit must exceed, for each class.

    Args:
        class_names: the classes that are evaluated.
        overlaps: by class name (case does not count), or one for each of `class_names` in their
            order. None: the benchmark's own.

    Raises:
        ConfigError: a class has no overlap, there is another number of them than of classes, or
            one is not in [0, 1).
    """
    if overlaps is None:
        overlaps = OVERLAPS
    if not isinstance(overlaps, Mapping):
        if not isinstance(overlaps, Sized) or len(overlaps) != len(class_names):
            raise ConfigError(
                f"overlaps: expected one for each of the {len(class_names)} classes "
                f"{list(class_names)}, got {overlaps}"
            )
        overlaps = dict(zip(class_names, overlaps))
    by_name = {name.lower(): value for name, value in overlaps.items()}
    chosen = {}
    for name in class_names:
        if name.lower() not in by_name:
            raise ConfigError(
                f"overlaps: class {name!r} has none; known are {sorted(by_name)}: give them all"
            )
        value = by_name[name.lower()]
        if not isinstance(value, Real) or not 0 <= value < 1:
            raise ConfigError(f"overlaps: expected a number in [0, 1) for {name!r}, got {value!r}")
        chosen[name] = float(value)
    return chosen
