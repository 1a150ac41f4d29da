"""What is asked of each point of a scan: its voxel, and whether the camera sees it."""
