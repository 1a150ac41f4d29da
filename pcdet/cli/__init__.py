"""The commands: train.py, test.py, demo.py and replay.py hold what can be typed, and no torch.

So --help comes at once. What a command does is in the module with the -ing: training.py, ...
"""
