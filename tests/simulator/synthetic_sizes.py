"""Sizes of the small data set of these tests."""

TRAIN, VAL, TEST = 6, 2, 2
