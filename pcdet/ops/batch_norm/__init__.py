"""Batch normalisation of rows of channels on the CPU, with sums that do not lose digits."""
