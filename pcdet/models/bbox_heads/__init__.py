"""Heads that turn a bird's-eye-view feature image into boxes."""

from pcdet.models.bbox_heads.pswarp_head import PSWarpHead
from pcdet.models.bbox_heads.rpn_head import RPNV2
from pcdet.models.bbox_heads.sassd_head import SASSDHead

RPN_HEADS = {"RPNV2": RPNV2, "SASSDHead": SASSDHead}
EXTRA_HEADS = {"PSWarpHead": PSWarpHead}
