"""Errors reach the user as one sentence with a button for the rest."""

from __future__ import annotations

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.notices import DetailsDialog, complain


@pytest.fixture
def notices():
    heard = []
    notification_manager.notification_ready.connect(heard.append)
    yield heard
    notification_manager.notification_ready.disconnect(heard.append)


def test_the_users_error_is_its_own_sentence(qtbot, notices):
    assert complain(InputError("The scan is empty: open another."), "Segmenting") == "The scan is empty: open another."
    assert notices[0].message == "The scan is empty: open another."
    assert [name for name, _ in notices[0].actions] == ["Details"]


def test_our_error_says_what_failed_and_keeps_the_traceback(qtbot, notices):
    try:
        raise KeyError("x")
    except KeyError as error:
        sentence = complain(error, "Segmenting")
    assert sentence.startswith("Segmenting failed (KeyError: 'x')")
    notices[0].actions[0][1](None)
    dialog = next(one for one in QApplication.topLevelWidgets() if isinstance(one, DetailsDialog))
    qtbot.addWidget(dialog)
    assert "test_notices.py" in dialog.text.toPlainText()
    dialog.copy.click()
    assert QApplication.clipboard().text().startswith(sentence)
