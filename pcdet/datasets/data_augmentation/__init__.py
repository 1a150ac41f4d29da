"""Augmentations of a training frame: each usable alone, and all in the order of PCDet."""
