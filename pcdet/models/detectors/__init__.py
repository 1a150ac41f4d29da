"""Whole detectors: each forward reads from voxels to boxes."""

from pcdet.models.detectors.second_net import SECONDNet

DETECTORS = {"second_net": SECONDNet}
