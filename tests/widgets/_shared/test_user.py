"""Choices outlive a window, and a broken file of them stops nobody; errors are one sentence."""

from __future__ import annotations

import weakref

import pytest
from napari.utils.notifications import ErrorNotification, notification_manager

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets._shared.user import complain


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / user.FILE
    monkeypatch.setattr(user, "_path", lambda: path)
    return path


def test_choices_are_remembered_per_widget(file):
    user.remember("segment", {"model": "a", "flip": False})
    user.remember("segment", {"model": "b"})
    user.remember("preview", {"preset": "fast"})
    assert user.recall("segment") == {"model": "b", "flip": False}
    assert user.recall("preview") == {"preset": "fast"}
    assert user.recall("train") == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"segment": 3}'])
def test_a_broken_file_is_as_good_as_none(file, text):
    file.parent.mkdir()
    file.write_text(text)
    assert user.recall("segment") == {}
    user.remember("segment", {"model": "a"})
    assert user.recall("segment") == {"model": "a"}


@pytest.fixture
def notices():
    heard = []
    notification_manager.notification_ready.connect(heard.append)
    yield heard
    notification_manager.notification_ready.disconnect(heard.append)


def test_the_users_error_is_its_own_sentence(qtbot, notices):
    assert complain(InputError("The scan is empty: open another."), "Segmenting") == "The scan is empty: open another."
    assert notices[0].message == "The scan is empty: open another."
    assert not isinstance(notices[0], ErrorNotification)


def test_our_error_says_what_failed_and_keeps_the_traceback(qtbot, notices):
    def fail() -> None:
        large = {1, 2}
        held.append(weakref.ref(large))
        raise KeyError("x")

    held: list[weakref.ref] = []
    try:
        fail()
    except KeyError as error:
        sentence = complain(error, "Segmenting")
    assert held[0]() is None  # though napari keeps the error
    assert sentence == notices[0].message == "Segmenting failed (KeyError: 'x')."
    assert "test_user.py" in notices[0].as_text()  # what napari's button shows
