"""A simulator of street scenes that writes a data set in KITTI's layout.

From the top: `writer` makes frames, `layout` draws a scene, `lidar` and `camera` sense it and
`labelling` describes it; `raycast` is the engine of both sensors. docs/architecture.md lists all.
"""

# Stands in simulator.json. Raise it with every change after which a call of the simulator, of any
# sensor, writes other frames than before: a folder of another world is not gone on with.
WORLD = 1
