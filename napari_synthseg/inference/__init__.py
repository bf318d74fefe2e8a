"""Whole-brain segmentation (SynthSeg, section 3.3): a scan in; labels, volumes and warnings out."""
