"""Heads that turn a bird's-eye-view feature image into boxes."""

from pcdet.models.bbox_heads.rpn_head import RPNV2

RPN_HEADS = {"RPNV2": RPNV2}
