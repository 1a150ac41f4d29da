"""Overlap of rotated boxes and non-maximum suppression."""
