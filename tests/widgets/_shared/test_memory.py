"""Choices outlive a window, and a broken file of them stops nobody."""

from __future__ import annotations

import pytest

from napari_synthseg.widgets._shared import memory


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / memory.FILE
    monkeypatch.setattr(memory, "_path", lambda: path)
    return path


def test_choices_are_remembered_per_widget(file):
    memory.remember("segment", {"model": "a", "flip": False})
    memory.remember("segment", {"model": "b"})
    memory.remember("preview", {"preset": "fast"})
    assert memory.recall("segment") == {"model": "b", "flip": False}
    assert memory.recall("preview") == {"preset": "fast"}
    assert memory.recall("train") == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"segment": 3}'])
def test_a_broken_file_is_as_good_as_none(file, text):
    file.parent.mkdir()
    file.write_text(text)
    assert memory.recall("segment") == {}
    memory.remember("segment", {"model": "a"})
    assert memory.recall("segment") == {"model": "a"}


def test_without_a_settings_file_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(memory, "_path", lambda: None)
    memory.remember("segment", {"model": "a"})
    assert memory.recall("segment") == {}
