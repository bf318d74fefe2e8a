"""`train synthseg`, `robust`, `synthfm`, `learn2synth`, and `export`: networks, and the weights that come of them."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

from collections.abc import Callable
from pathlib import Path

import tyro

from napari_synthseg.cli.ends import DONE
from napari_synthseg.cli.following import follow
from napari_synthseg.cli.parts import Out


def make_train_synthseg() -> Callable[..., int]:
    """Train a segmentation network on images made from label maps."""
    from napari_synthseg.training.synthseg import TrainSynthSegOptions, train

    def train_synthseg(training: TrainSynthSegOptions) -> int:
        """Train a segmentation network on images made from label maps."""
        follow(train(training))
        return DONE

    return train_synthseg


def make_train_robust() -> Callable[..., int]:
    """Train three networks in a row for scans of low quality."""
    from napari_synthseg.training.robust import TrainRobustOptions, train

    def train_robust(training: TrainRobustOptions) -> int:
        """Train three networks in a row for scans of low quality (SynthSeg+).

        S1 finds tissues, D corrects them, S2 finds structures knowing the tissues. Each can be resumed.
        """
        follow(train(training))
        return DONE

    return train_robust


def make_train_synthfm() -> Callable[..., int]:
    """Train a network that answers clicks, on synthetic scenes alone."""
    from napari_synthseg.training.synthfm import TrainSynthFMOptions, train

    def train_synthfm(training: TrainSynthFMOptions) -> int:
        """Train a network that answers clicks, on synthetic scenes alone (SynthFM)."""
        follow(train(training))
        return DONE

    return train_synthfm


def make_train_learn2synth() -> Callable[..., int]:
    """Train a segmentation network while labelled scans teach how its images are made."""
    from napari_synthseg.training.learn2synth.train import TrainLearn2SynthOptions, train

    def train_learn2synth(training: TrainLearn2SynthOptions) -> int:
        """Train a segmentation network while labelled scans teach how its images are made (Learn2Synth)."""
        follow(train(training))
        return DONE

    return train_learn2synth


def make_export() -> Callable[..., int]:
    """Turn a training run's checkpoints into weights that can be used."""
    from napari_synthseg.training import robust, synthfm, synthseg
    from napari_synthseg.training.learn2synth import train as learn2synth

    def export(
        run: tyro.conf.Positional[Path],
        out: Out,
        best: bool = False,
        scores: Path | None = None,
        confident_score: float | None = None,
    ) -> int:
        """Turn the checkpoints of a fast training run, finished or not, into weights that can be used.

        Runs of the different recipes are told apart by their files.

        Args:
            run: the run's folder.
            out: the weights to write (.safetensors); their card is written beside them.
            best: the checkpoints with the best validation scores instead of the newest.
            scores: figures of `evaluate --json` on scans segmented with these weights, or of `evaluate-prompts --json`,
                for their card.
            confident_score: how sure the first stage is on ordinary scans; below, other orientations are looked at.
        """
        if any(run.glob(f"{synthfm.STAGE}*.pt")):
            print(synthfm.export(run, out, best=best, scores=scores))
        elif robust.is_run(run):
            print(robust.export(run, out, best=best, scores=scores, confident_score=confident_score))
        elif learn2synth.is_run(run):
            print(learn2synth.export(run, out, best=best, scores=scores))
        else:
            print(synthseg.export(run, out, best=best, scores=scores, confident_score=confident_score))
        return DONE

    return export
