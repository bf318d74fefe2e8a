"""What recipes do alike after their last step: from a stage's checkpoint to weights."""

from __future__ import annotations

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.training.engine.checkpoints import atomic_save, trained_state
from napari_synthseg.training.folder import checkpoint


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing_for_its_reason(tmp_path) -> None:
    with pytest.raises(InputError, match="train that stage first"):
        trained_state(tmp_path, "locate", best=True)
    atomic_save({"step": 4}, checkpoint(tmp_path, "locate"))
    with pytest.raises(InputError, match=r"stage locate of .* has no validation score.*leave out --best"):
        trained_state(tmp_path, "locate", best=True)
    assert trained_state(tmp_path, "locate")["step"] == 4
    atomic_save({"step": 2}, checkpoint(tmp_path, "locate", "best"))
    assert trained_state(tmp_path, "locate", best=True)["step"] == 2
