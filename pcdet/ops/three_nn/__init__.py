"""The three sites nearest to a point, and interpolation between them."""
