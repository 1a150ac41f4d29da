"""KITTI's matching of detections to ground truth, and the overlaps it goes by, without torch."""
