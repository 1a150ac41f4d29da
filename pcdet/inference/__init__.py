"""Detectors at work, without a data set and without the global configuration."""
