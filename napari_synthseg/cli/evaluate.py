"""`evaluate`: labels beside the truth."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from napari_synthseg.cli.ends import DONE
from napari_synthseg.cli.following import follow
from napari_synthseg.cli.parts import JsonFile, write_json


def make_evaluate() -> Callable[..., int]:
    """Compare labels with the truth: Dice and surface distances."""
    from napari_synthseg.evaluation.scans import EvaluateOptions, evaluate_steps, table

    def evaluate(
        pred: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PRED")],
        truth: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TRUTH")],
        scoring: EvaluateOptions,
        json_file: JsonFile = None,
    ) -> int:
        """Compare label files with true ones: Dice and SD95 (symmetric surface distance) per structure.

        Args:
            pred: a label file, or a folder of them.
            truth: the true label file, or a folder of them, matched by the beginnings of their names.
            scoring: what to score.
            json_file: write all figures into this JSON file.
        """
        scores = follow(evaluate_steps(pred, truth, scoring))
        if json_file is not None:
            write_json(json_file, scores)
        print(table(scores))
        return DONE

    return evaluate
