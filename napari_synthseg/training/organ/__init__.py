"""`train organ`: a network for any organ, any contrast, from scans with labels (SynthSeg, section 5.4)."""
