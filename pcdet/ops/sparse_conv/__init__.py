"""Products of a sparse convolution on the CPU, from lists of the voxels that each offset pairs."""
