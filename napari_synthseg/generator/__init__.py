"""From label maps to training images: SynthSeg's generative model (section 3.1), sampling apart from applying."""
