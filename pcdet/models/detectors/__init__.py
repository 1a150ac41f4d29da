"""Whole detectors: each forward reads from voxels to boxes."""

from pcdet.models.detectors.PartA2_net import PartA2Net
from pcdet.models.detectors.pointpillar import PointPillar
from pcdet.models.detectors.sassd_net import SASSDNet
from pcdet.models.detectors.second_net import SECONDNet

DETECTORS = {
    "second_net": SECONDNet,
    "PointPillar": PointPillar,
    "PartA2_net": PartA2Net,
    "sassd_net": SASSDNet,
}
