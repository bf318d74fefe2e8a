"""Learn2Synth: synthesis that learns, by hypergradients, to make a segmentation network do well on real images."""
