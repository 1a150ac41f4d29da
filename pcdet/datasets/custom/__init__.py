"""A data set of one's own: points, and boxes in text files; no camera, no calibration."""
