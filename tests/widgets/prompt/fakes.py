"""A session that answers at once and exactly: what has the value that was pointed at, and is connected to it."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import cc3d
import numpy as np

PATIENCE = 120
"""Seconds that a gate is waited for, lest a test that fails hangs."""


class FakeSession:
    """Stands for `prompting.Session`.

    Args:
        log: shared by the sessions of a test: pictures seen, threads, prompts.
        seconds: that encoding takes.
        gate: encoding goes on only while it is set.
    """

    def __init__(self, log: SimpleNamespace, seconds: float = 0.0, gate: threading.Event | None = None) -> None:
        self.log, self._seconds, self._gate = log, seconds, gate
        self.error: Exception | None = None
        self.image = np.zeros((0, 0))

    def set_image(self, image, window=None, pixel=(1.0, 1.0)):
        self.image = np.asarray(image)
        self.log.seen.append((self.image, window, pixel))
        self.log.threads.add(threading.current_thread())
        key = self.image.tobytes()
        if key not in self.log.encoded:
            time.sleep(self._seconds)
            if self._gate is not None:
                self._gate.wait(PATIENCE)
            self.log.encoded.add(key)
        self.points, self.box, self.mask = [], None, None

    def encode_ahead(self, images, window=None, pixel=(1.0, 1.0)):
        self.log.ahead.append([np.asarray(image) for image in images])

    def reset(self):
        self.points, self.box, self.mask = [], None, None

    def point_at(self, prompts):
        self.points = list(zip(prompts.points, prompts.positive, strict=True))
        hint = prompts.mask is not None and prompts.mask.dtype.kind == "f"  # how probable inside is: of another slice
        self.box, self.mask = prompts.box, None if hint else prompts.mask

    def offset(self, mask, where):
        return 0.0

    def features(self, pixels):
        return np.zeros((len(pixels), 0), np.float32)

    def projected(self, weights):
        return np.zeros(self.image.shape[:2], np.float32)

    def answer(self, evidence=None):
        if self.error is not None:
            raise self.error
        grey = self.image if self.image.ndim == 2 else self.image[..., 0]
        parts = cc3d.connected_components(grey.astype(np.int32), connectivity=4)
        mask = np.zeros(grey.shape, bool) if self.mask is None else self.mask.copy()
        if self.box is not None:
            row0, column0, row1, column1 = (round(one) for one in self.box)
            mask[row0 : row1 + 1, column0 : column1 + 1] |= grey[row0 : row1 + 1, column0 : column1 + 1] != 0
        for (row, column), positive in self.points:
            part = parts[round(row), round(column)]
            mask = mask | (parts == part) & (part > 0) if positive else mask & (parts != part)
        self.log.answers.append((list(self.points), self.box, self.mask))
        return SimpleNamespace(mask=mask, score=0.9, changed=None)

    def beside(self):
        return FakeSession(self.log, self._seconds, self._gate)

    def close(self):
        self.log.closed += 1


def maker(seconds: float = 0.0, gate: threading.Event | None = None):
    """What a widget makes its session with; `.log` tells what was asked."""
    log = SimpleNamespace(seen=[], threads=set(), encoded=set(), ahead=[], answers=[], closed=0, made=[])

    def make(model, device, keep=False):
        log.made.append((model, device, keep) if keep else (model, device))
        return FakeSession(log, seconds, gate)

    make.log = log
    return make
