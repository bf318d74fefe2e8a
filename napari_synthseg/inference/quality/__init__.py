"""How far a segmentation can be trusted, with no ground truth: evidence, its calibration, and ratings of what it says.

Nothing is imported here: `ratings` serves the widgets, which open without torch.
"""
