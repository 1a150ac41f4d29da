"""The section DATA_CONFIG: frames, augmentation and voxels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from pcdet.config.schema.keys import Section, key

# Classes of data sets, each in the table of pcdet/datasets/__init__.py too.
DATASETS = ["KittiDataset", "CustomDataset"]
# A turn beyond a whole one is degrees.
_RADIANS = {"at_least": -6.2832, "at_most": 6.2832, "because": "angles are radians"}
_NAMED_NUMBER = {"pattern": r"\s*[^:]+:\s*\d+\s*", "example": "Car:5"}


def _named_twice(entries: Optional[list[str]]) -> Iterator[str]:
    """Words for each class that stands twice among entries like 'Car:5'."""
    names = [entry.rpartition(":")[0].strip() for entry in entries or ()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"expected each class once, got {name} {names.count(name)} times in {entries}"


@dataclass
class NumPointFeatures(Section):
    """Numbers that come with a point, x, y, z first."""

    total: int = key("numbers of a point in the files", at_least=3)
    use: int = key("how many of them the network sees", at_least=3)

    def problems(self) -> Iterator[tuple[str, str]]:
        """More numbers are used than there are."""
        if self.use > self.total:
            yield "use", f"expected 3 <= use <= total, got use {self.use}, total {self.total}"


@dataclass
class Frames(Section):
    """Frames of a training, or of a test."""

    INFO_PATH: list[str] = key("info files of the frames; below DATA_DIR, --data_dir moves them")
    SHUFFLE_POINTS: bool = key("put the points of a frame in random order")
    MAX_NUMBER_OF_VOXELS: int = key("voxels kept of a frame", at_least=1)
    MAX_POINTS_PER_VOXEL: Optional[int] = key(
        "points kept of a voxel, instead of VOXEL_GENERATOR's number; PointPillar, whose pillars "
        "hold many, finds more people if a test keeps all",
        None,
        at_least=1,
    )


class Noise(Section):
    """Random changes, of whose keys some are ranges."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """A range is the wrong way round."""
        for name, value in vars(self).items():
            if name.endswith("_UNIFORM_NOISE") and value[0] > value[1]:
                yield name, f"expected [lowest, highest], got {value}"


@dataclass
class ObjectNoise(Noise):
    """Each object is scaled, moved and turned by itself."""

    ENABLED: bool = key("whether to")
    GT_LOC_NOISE_STD: list[float] = key(
        "standard deviations of the move along x, y, z, metres", length=3, at_least=0, at_most=10
    )
    GT_ROT_UNIFORM_NOISE: list[float] = key("range of the turn, radians", length=2, **_RADIANS)
    GT_SCALING_UNIFORM_NOISE: list[float] = key(
        "range of the factor", [1.0, 1.0], length=2, above=0
    )


@dataclass
class SceneNoise(Noise):
    """The scene as a whole is flipped, turned, scaled, moved and thinned out."""

    ENABLED: bool = key("whether to; without, there is no flip either")
    GLOBAL_ROT_UNIFORM_NOISE: list[float] = key("range of the turn, radians", length=2, **_RADIANS)
    GLOBAL_SCALING_UNIFORM_NOISE: list[float] = key("range of the factor", length=2, above=0)
    GLOBAL_TRANSLATION_NOISE_STD: list[float] = key(
        "standard deviations of the move along x, y, z, metres",
        [0.0, 0.0, 0.0],
        length=3,
        at_least=0,
    )
    GLOBAL_SLOPE_NOISE_STD: list[float] = key(
        "standard deviations of a rise along x and y, metres a metre",
        [0.0, 0.0],
        length=2,
        at_least=0,
    )
    GLOBAL_DROPOUT_UNIFORM_NOISE: list[float] = key(
        "range of the share of points that are dropped", [0.0, 0.0], length=2, at_least=0, below=1
    )


@dataclass
class SampledObjects(Section):
    """Which objects of the database are sampled."""

    filter_by_difficulty: Optional[list[int]] = key("KITTI's difficulties to drop", None)
    filter_by_min_points: Optional[list[str]] = key(
        "least points of an object, by class", None, **_NAMED_NUMBER
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """A class has two numbers, of which only one would count."""
        for problem in _named_twice(self.filter_by_min_points):
            yield "filter_by_min_points", problem


@dataclass
class Sampler(Section):
    """Objects of other frames are put where there is room."""

    ENABLED: bool = key("whether to")
    DB_INFO_PATH: list[str] = key("infos of the database")
    PREPARE: SampledObjects = key()
    RATE: float = key("share of the missing objects to add", at_least=0)
    SAMPLE_GROUPS: list[str] = key(
        "objects that a frame should have, its own counted, by class", **_NAMED_NUMBER
    )
    USE_ROAD_PLANE: bool = key("put them on the ground of the frame")

    def problems(self) -> Iterator[tuple[str, str]]:
        """A class has two numbers, of which only one would count."""
        for problem in _named_twice(self.SAMPLE_GROUPS):
            yield "SAMPLE_GROUPS", problem


@dataclass
class Augmentation(Section):
    """How frames are changed in a training."""

    NOISE_PER_OBJECT: ObjectNoise = key()
    NOISE_GLOBAL_SCENE: SceneNoise = key()
    DB_SAMPLER: Sampler = key()


@dataclass
class VoxelGenerator(Section):
    """How points are grouped into voxels."""

    MAX_POINTS_PER_VOXEL: int = key(
        "points kept of a voxel, the first ones: where they are not shuffled, those of the upper "
        "lasers, as KITTI's files begin with them",
        at_least=1,
    )
    VOXEL_SIZE: list[float] = key("along x, y, z, metres", length=3, above=0)


@dataclass
class DataConfig(Section):
    """The frames, and what is made of them before the network."""

    DATASET: str = key("class of the data set", choices=DATASETS)
    DATA_DIR: str = key(
        "folder of the data set; a relative one starts at the repository, or at the working folder "
        "where pcdet is installed without it"
    )
    FOV_POINTS_ONLY: bool = key("drop the points that the camera does not see")
    IMAGE_SHAPE: Optional[list[int]] = key(
        "height and width in pixels of images that are not there", None, length=2, at_least=1
    )
    NUM_POINT_FEATURES: NumPointFeatures = key()
    POINT_COLUMNS: Optional[list[str]] = key(
        "of CustomDataset: names of the numbers of a point in the files, x, y, z first; fields of "
        ".pcd, .ply and structured .npy files are taken by these names, wherever they stand; null "
        "for x, y, z, intensity and others without a name",
        None,
    )
    POINT_CLOUD_RANGE: list[float] = key(
        "x, y, z of the lowest and of the highest corner of the scene, LiDAR frame, metres",
        length=6,
    )
    CLASS_MAP: dict[str, str] = key(
        "labels that count as one of the classes in training, as Van: Car", {}
    )
    MASK_POINTS_BY_RANGE: bool = key("drop the points of a sample outside of it")
    TRAIN: Frames = key()
    TEST: Frames = key()
    AUGMENTATION: Augmentation = key()
    VOXEL_GENERATOR: VoxelGenerator = key()

    def problems(self) -> Iterator[tuple[str, str]]:
        """The range is empty."""
        low, high = self.POINT_CLOUD_RANGE[:3], self.POINT_CLOUD_RANGE[3:]
        if not all(a < b for a, b in zip(low, high)):
            yield "POINT_CLOUD_RANGE", f"expected minima below maxima, got {low} and {high}"
