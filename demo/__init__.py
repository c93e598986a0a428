"""The main job, end to end: `make demo`, or `python -m demo [--keep]`."""
