"""Voxel feature encoders: points of a voxel to one feature vector."""

from pcdet.models.vfe.mean_vfe import MeanVoxelFeatureExtractor
from pcdet.models.vfe.pillar_vfe import PillarFeatureNetOld2

VFES = {
    "MeanVoxelFeatureExtractor": MeanVoxelFeatureExtractor,
    "PillarFeatureNetOld2": PillarFeatureNetOld2,
}
