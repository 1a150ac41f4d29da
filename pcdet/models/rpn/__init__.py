"""3D backbones: voxel features to a bird's-eye-view feature image."""

from pcdet.models.rpn.pillar_scatter import PointPillarsScatter
from pcdet.models.rpn.rpn_backbone import BackBone8x
from pcdet.models.rpn.rpn_unet import UNetV0, UNetV2
from pcdet.models.rpn.sassd_backbone import SASSDBackbone

BACKBONES = {
    "BackBone8x": BackBone8x,
    "PointPillarsScatter": PointPillarsScatter,
    "SASSDBackbone": SASSDBackbone,
    "UNetV0": UNetV0,
    "UNetV2": UNetV2,
}
