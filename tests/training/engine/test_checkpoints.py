"""What recipes do alike after their last step: from a stage's checkpoint to weights."""

from __future__ import annotations

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.training.engine.checkpoints import atomic_save, load_newest, save_newest, trained_state
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


def test_the_newest_good_checkpoint_stands_in_for_a_damaged_one(tmp_path, caplog) -> None:
    for step in (1, 2, 3):
        save_newest({"step": step}, tmp_path, "locate")
    assert load_newest(tmp_path, "locate") == ({"step": 3}, "")
    atomic_save({"step": 1}, checkpoint(tmp_path, "locate", "best"))
    atomic_save({"step": 9}, checkpoint(tmp_path, "locate-deep"))  # another stage
    checkpoint(tmp_path, "locate").write_bytes(b"PK half of it")
    state, damage = load_newest(tmp_path, "locate")
    assert state["step"] == 2 and "locate-previous.pt is used in its place, from step 2" in damage
    assert trained_state(tmp_path, "locate")["step"] == 2 and "damaged" in caplog.text
    for kind in ("previous", "best"):
        checkpoint(tmp_path, "locate", kind).write_bytes(b"")
    with pytest.raises(InputError, match=r"locate.pt .*damaged"):
        load_newest(tmp_path, "locate")
