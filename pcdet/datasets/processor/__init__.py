"""Points to voxels, and targets made from voxels."""
