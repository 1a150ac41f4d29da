"""Which points lie in which box, and pooling of point features on a grid in each RoI."""
