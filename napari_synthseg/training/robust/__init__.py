"""`train robust`: SynthSeg+'s S1, D and S2, as in the paper or on the fast network's plan.

`run` is the whole of it, from label maps to exported weights; `plans` has the stages of both plans in their order.
"""

from napari_synthseg.training.options.robust import TrainRobustOptions
from napari_synthseg.training.robust.run import (
    card_of,
    export,
    is_run,
    priors_of,
    train,
)

__all__ = ["TrainRobustOptions", "card_of", "export", "is_run", "priors_of", "train"]
