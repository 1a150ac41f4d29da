"""3D backbones: voxel features to a bird's-eye-view feature image."""

from pcdet.models.rpn.rpn_backbone import BackBone8x

BACKBONES = {"BackBone8x": BackBone8x}
