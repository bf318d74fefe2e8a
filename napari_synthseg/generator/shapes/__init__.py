"""Scenes of shapes for promptable segmentation: SynthFM's two modules, what modalities look like (arXiv 2504.08177)."""
