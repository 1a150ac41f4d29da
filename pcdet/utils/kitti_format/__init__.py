"""The files of KITTI's 3D object data set, read and written: the one place that knows their form.

`folders` names them, `label` reads and writes label and result files, `label_table` reads many of
them at once, `calib` calibrations, `split` the lists of frames, `planes` ground planes.
"""
