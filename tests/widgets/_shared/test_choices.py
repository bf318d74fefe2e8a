"""Models, devices and preferences that are offered; times in words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from napari import settings

from napari_synthseg.jobs import Progress
from napari_synthseg.weights import catalogue
from napari_synthseg.widgets._shared import choices
from napari_synthseg.widgets._shared.choices import elapsed, so_far


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Puts weights (empty files with cards) where they are found, and nowhere else."""
    monkeypatch.setattr(catalogue, "folders", lambda: [tmp_path])

    def put(name: str, **card) -> None:
        (tmp_path / f"{name}.safetensors").touch()
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, "network": "unet", "labels": [0], **card}))

    return put


def test_one_broken_card_hides_no_other(shelf, tmp_path):
    shelf("broken")
    shelf("sound")
    (tmp_path / "broken.json").write_text("[]")
    assert [card["name"] for card in choices.model_cards()] == ["sound"]


def test_a_card_is_summed_up():
    text = choices.card_summary({"description": "A net.", "licence": "Apache-2.0", "scores": {"dice": 0.85123}})
    assert text == "About: A net.\nScores: Dice 0.851\nLicense: Apache-2.0"


def test_manifests_are_read_for_a_preference_only_once_one_was_changed(monkeypatch, tmp_path):
    kept = SimpleNamespace(computing=SimpleNamespace(device="cpu"))
    monkeypatch.setattr(settings, "get_settings", lambda: SimpleNamespace(config_path=tmp_path / "settings.yaml"))
    monkeypatch.setattr(settings, "get_plugin_settings", lambda name: kept)
    assert choices.preference("device", "auto") == "auto"
    (tmp_path / f"{choices.PLUGIN}.yaml").touch()
    assert choices.preference("device", "auto") == "cpu"


@pytest.mark.parametrize(("platform", "gpu"), [("darwin", "mps"), ("linux", "cuda"), ("win32", "cuda")])
def test_the_devices_fit_the_platform(monkeypatch, platform, gpu):
    monkeypatch.setattr(choices.sys, "platform", platform)
    assert [choice.value for choice in choices.device_choices()] == ["auto", "cpu", gpu]


def test_the_cache_of_the_preferences_is_followed_and_a_variable_goes_first(monkeypatch):
    kept = {"cache": "/one"}
    monkeypatch.setattr(choices, "preference", lambda name, default, **_: kept.get(name, default))
    monkeypatch.setattr(choices, "_cache_of_ours", None)
    monkeypatch.setenv(choices.CACHE, "")  # so that what is set below is taken back
    monkeypatch.delenv(choices.CACHE)
    for folder in ("/one", "/two"):
        kept["cache"] = folder
        choices.use_folders()
        assert catalogue.cache_folder() == Path(folder)
    kept["cache"] = ""
    choices.use_folders()
    assert choices.CACHE not in os.environ
    monkeypatch.setenv(choices.CACHE, "/mine")
    kept["cache"] = "/three"
    choices.use_folders()
    assert catalogue.cache_folder() == Path("/mine")
    catalogue.use_folder(None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.2, "3 s"), (60.0, "1 min 0 s"), (185.7, "3 min 5 s"), (3599.9, "59 min 59 s"), (7400.0, "2 h 3 min")],
)
def test_a_time_that_goes_on_is_seen_to_go_on(seconds, text):
    assert elapsed(seconds) == text


def test_progress_is_a_stage_a_count_and_a_time():
    assert so_far(Progress("Reading"), 0.2) == "Reading"
    assert so_far(Progress("Network", 3, 12), 65.0) == "Network (3 of 12), 1 min 5 s"
    assert so_far(Progress("Network", 0, 1), 2.0) == "Network, 2 s"
