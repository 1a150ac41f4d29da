"""Voxel feature encoders: points of a voxel to one feature vector."""

from pcdet.models.vfe.mean_vfe import MeanVoxelFeatureExtractor

VFES = {"MeanVoxelFeatureExtractor": MeanVoxelFeatureExtractor}
