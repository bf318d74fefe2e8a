"""Early stopping: a recipe has enough when its score on the validation scans has not risen for a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.folder import checkpoint


class Patience:
    """Counts validations without a better score.

    Args:
        validate: scores a model; the one named "score" counts.
        limit: how many there may be; 0: any number.
    """

    def __init__(self, validate: Callable[[nn.Module], dict[str, Any]], limit: int) -> None:
        self.validate, self.limit = validate, limit
        self.stale, self.best = 0, float("-inf")

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """The scores, which are counted."""
        scores = self.validate(model)
        if "score" in scores:
            better = scores["score"] > self.best
            self.stale = 0 if better else self.stale + 1
            self.best = max(self.best, scores["score"])
        return scores

    def over(self) -> bool:
        """Whether it is."""
        return 0 < self.limit <= self.stale

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"stale": self.stale, "best_score": self.best}

    def take_up(self, run: Path, stage: str) -> None:
        """Go on counting where the newest checkpoint of a stage left off."""
        path = checkpoint(run, stage)
        if path.exists():
            kept = load_checkpoint(path)["card"]
            self.stale, self.best = kept.get("stale", 0), kept.get("best_score", self.best)
