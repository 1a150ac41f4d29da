"""From a folder of one's own data to a training: look at it, write its yaml, import labels."""
