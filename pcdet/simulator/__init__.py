"""A simulator of street scenes that writes a data set in KITTI's layout.

From the top: `writer` makes frames, `layout` draws a scene, `lidar` and `camera` sense it and
`labelling` describes it; `raycast` is the engine of both sensors. docs/architecture.md lists all.
"""
