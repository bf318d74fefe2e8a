"""The drawings in `resources/icons`, in the colour that napari's theme gives icons, and following a change of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import finalize, ref

from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.compat import isalive
from qtpy.QtCore import QByteArray, QRectF, QSize, Qt
from qtpy.QtGui import QIcon, QPainter, QPixmap
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import QAbstractButton

from napari_synthseg.anatomy import resources

DRAWN = "#808080"  # the colour in the files, replaced by the theme's
SIZES = (16, 20, 32, 48)


def icon_on(button: QAbstractButton, name: str, size: int = 18) -> None:
    """Give a button an icon that follows napari's theme for as long as the button lives.

    Args:
        button: any button.
        name: of a file in `resources/icons`, without its ending.
        size: pixels.
    """
    button.setIconSize(QSize(size, size))
    button.setIcon(themed(name))
    events, alive = get_settings().appearance.events.theme, ref(button)

    def follow(event: object = None) -> None:
        living = alive()
        if living is not None and isalive(living):  # Qt may have deleted the button before Python does
            living.setIcon(themed(name))
        else:
            events.disconnect(follow)

    events.connect(follow)
    end = finalize(button, _forget, events, follow)  # not by `destroyed`: PyQt can crash in a function it calls then
    end.atexit = False


def _forget(events: Any, follow: Callable[..., None]) -> None:
    if follow in events.callbacks:
        events.disconnect(follow)


def themed(name: str) -> QIcon:
    """An icon in the colours of the theme in use, greyer where it is disabled."""
    theme = get_theme(get_settings().appearance.theme)
    return _drawn(name, theme.icon.as_hex(), theme.secondary.as_hex())


@cache
def _drawn(name: str, color: str, disabled: str) -> QIcon:
    text = (resources() / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    icon = QIcon()
    for mode, ink in ((QIcon.Mode.Normal, color), (QIcon.Mode.Disabled, disabled)):
        renderer = QSvgRenderer(QByteArray(text.replace(DRAWN, ink).encode()))
        for size in SIZES:
            picture = QPixmap(size, size)
            picture.fill(Qt.GlobalColor.transparent)
            painter = QPainter(picture)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            renderer.render(painter, QRectF(0, 0, size, size))
            painter.end()
            icon.addPixmap(picture, mode)
    return icon
