"""`train synthfm`: a decoder for clicks, boxes and masks from synthetic scenes alone (SynthFM, arXiv 2504.08177).

`run` is the whole of it, from an image encoder to exported weights; the other modules are its recipe.
"""

from napari_synthseg.training.synthfm.run import (
    ENCODER,
    STAGE,
    TrainSynthFMOptions,
    export,
    mean_scores,
    train,
    untrained,
)

__all__ = ["ENCODER", "STAGE", "TrainSynthFMOptions", "export", "mean_scores", "train", "untrained"]
