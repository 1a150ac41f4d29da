"""The AP that stands for a class where there is room for one number: in 3D, at the main level."""

# KITTI's, and that of data without a camera.
_ENDINGS = ("_3d/moderate_R40", "_3d/all_R40")
IN_WORDS = "3D AP, R40, moderate difficulty or all distances"


def is_main_metric(tag: str) -> bool:
    """Tell whether a tag such as `Car_3d/moderate_R40` is of it, at the usual overlap."""
    return tag.endswith(_ENDINGS)
