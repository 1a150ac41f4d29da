"""The sections MODEL.TRAIN and MODEL.TEST: optimisation, proposals, detections."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional, Union

from pcdet.config.schema.keys import Section, key

AMP_NAMES = ("bf16", "fp16")
NMS_TYPES = ("nms_gpu", "nms_normal_gpu")
_ONE_CYCLE = {"needed_if": ("OPTIMIZER", ("adam_onecycle",))}
_STEPS = {"needed_if": ("OPTIMIZER", ("adam", "sgd"))}
_RECIPE = "; the option of the same name overrides it"


@dataclass
class Optimization(Section):
    """How the weights are learned."""

    OPTIMIZER: str = key(
        "optimiser and schedule of the learning rate: one cycle, else steps",
        choices=("adam", "sgd", "adam_onecycle"),
    )
    LR: float = key("learning rate, with adam_onecycle the highest", above=0)
    WEIGHT_DECAY: float = key("decay of the weights", at_least=0)
    GRAD_NORM_CLIP: float = key("greatest norm of the gradient", above=0)
    MOMENTUM: float = key("of sgd", **_STEPS, at_least=0, below=1)
    MOMS: list[float] = key(
        "first beta at the ends and in the middle of the cycle",
        **_ONE_CYCLE,
        length=2,
        at_least=0,
        below=1,
    )
    PCT_START: float = key(
        "part of the training in which the rate rises", **_ONE_CYCLE, at_least=0, at_most=1
    )
    DIV_FACTOR: float = key("LR over the rate at the start of the cycle or warm-up", above=0)
    DECAY_STEP_LIST: list[int] = key(
        "epochs from which the rate is multiplied by LR_DECAY once more", **_STEPS, at_least=0
    )
    LR_DECAY: float = key("factor of a step", **_STEPS, above=0)
    LR_CLIP: float = key("least rate", **_STEPS, at_least=0)
    LR_WARMUP: bool = key("let the rate rise along a cosine at first", **_STEPS)
    WARMUP_EPOCH: int = key("epochs of this rise", **_STEPS, at_least=0)
    EPOCHS: int = key(f"epochs of the whole training{_RECIPE}", 80, at_least=1)
    BATCH_SIZE: Optional[int] = key(
        "frames of a step, over all processes together; null for 4 for each GPU, 2 for each "
        f"process on a CPU{_RECIPE}",
        None,
        at_least=1,
    )
    AMP: Optional[str] = key(
        f"compute in 16 bits where that is safe{_RECIPE}", None, choices=(*AMP_NAMES, "none")
    )
    PRECISE_BN: int = key(
        "batches of each process on which the statistics of batch normalisation are measured anew "
        f"at the end, before the epochs of FREEZE_BN{_RECIPE}",
        0,
        at_least=0,
    )
    FREEZE_BN: int = key(
        f"last epochs in which these statistics stay as they are{_RECIPE}", 0, at_least=0
    )
    SYNC_BN: bool = key(
        f"normalise by the statistics of all processes' frames together{_RECIPE}", False
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """A rate that grows where it should fall, or the other way round."""
        one_cycle = self.OPTIMIZER == "adam_onecycle"
        if self.DIV_FACTOR < 1 and (one_cycle or self.LR_WARMUP):
            told = f"so that the rate rises, got {self.DIV_FACTOR}"
            yield "DIV_FACTOR", f"expected at least 1, {told}"
        if one_cycle:
            return
        if self.LR_DECAY > 1:
            yield "LR_DECAY", f"expected at most 1, so that the rate falls, got {self.LR_DECAY}"
        if self.LR_CLIP > self.LR:
            yield "LR_CLIP", f"expected at most LR, {self.LR}, got {self.LR_CLIP}"


@dataclass
class Proposals(Section):
    """Which boxes of the first stage the second one sees; needed if MODEL.RCNN is ENABLED."""

    NMS_PRE_MAXSIZE: Optional[int] = key("candidates for proposals", None, at_least=1)
    NMS_POST_MAXSIZE: Optional[int] = key("proposals of a frame", None, at_least=1)
    RPN_NMS_THRESH: Optional[float] = key(
        "overlap from above (IoU) over which the lower-scored candidate goes",
        None,
        at_least=0,
        at_most=1,
    )
    RPN_NMS_TYPE: Optional[str] = key(
        "kind of overlap: of turned or of upright rectangles", None, choices=NMS_TYPES
    )


@dataclass
class Train(Proposals):
    """A training."""

    SPLIT: str = key("split whose frames are learned")
    OPTIMIZATION: Optimization = key()
    EMA: Optional[float] = key(
        "average the weights over the steps, those of earlier steps falling off by this factor, as "
        "0.999, and faster at first; the average is tested and released; null for none",
        None,
        above=0,
        below=1,
    )


@dataclass
class BoxFilter(Section):
    """Which detections are reported."""

    USE_IMAGE_AREA_FILTER: bool = key("drop boxes that cover most of the image", False)
    LIMIT_RANGE: Optional[list[float]] = key(
        "x, y, z of two corners between which the middle of a box's bottom lies, LiDAR frame, "
        "metres; null for anywhere",
        None,
        length=6,
    )


@dataclass
class Test(Proposals):
    """A test."""

    SPLIT: str = key("split to test on; --split overrides it")
    NMS_TYPE: str = key(
        "kind of overlap: of turned or of upright rectangles", "nms_gpu", choices=NMS_TYPES
    )
    MULTI_CLASSES_NMS: bool = key("suppress within each class, not among all boxes", False)
    NMS_THRESH: float = key(
        "overlap from above (IoU) over which the lower-scored box goes",
        0.01,
        at_least=0,
        at_most=1,
    )
    SCORE_THRESH: Union[float, list[float]] = key(
        "least score, as a probability: a number, or one for each class",
        0.1,
        at_least=0,
        at_most=1,
    )
    USE_RAW_SCORE: bool = key("report logits as scores, not probabilities", True)
    NMS_PRE_MAXSIZE_LAST: int = key("candidates for detections", 4096, at_least=1)
    NMS_POST_MAXSIZE_LAST: int = key("detections of a frame", 500, at_least=1)
    BOX_VOTING: float = key(
        "overlap from above (IoU) from which candidates of the same class share in a detection's "
        "box, by score and overlap; 0: they do not, as in PCDet",
        0.0,
        at_least=0,
        at_most=1,
    )
    RECALL_THRESH_LIST: list[float] = key(
        "3D overlaps (IoU) at which recall is counted", [], at_least=0, at_most=1
    )
    EVAL_METRIC: str = key("how detections are scored", "kitti", choices=("kitti",))
    EVAL_OVERLAPS: dict[str, float] = key(
        "the overlap (IoU) by class that a hit must exceed, where KITTI's rules have none; left "
        "out: 0.5 of a class that these do not know; of CustomDataset 0.7 where objects are longer "
        "than 3 m, else 0.5",
        {},
        at_least=0,
        below=1,
    )
    BOX_FILTER: BoxFilter = key(default={})
