"""A data set looked at before anyone trains on it: what is in it, what looks wrong, and whether to start.

`sources` finds the files, `people` puts them side by side, `joint_checks`, `set_checks` and `picture_checks`
look, `examine` runs them all, `report` and `sheet` tell.
"""
