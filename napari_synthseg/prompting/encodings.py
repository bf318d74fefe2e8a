"""Embeddings of images, kept as long as there is room, and computed ahead in the background where asked."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from napari_synthseg.jobs import checkpoint, stoppable
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.prompting.frame import Frame, to_rgb, to_tensor

SQUARE = (1.0, 1.0)

LIMIT = 2**30
"""Bytes of embeddings that are kept: 256 of them (a slice's takes 4 MiB), so that an object that was followed through a
head can be corrected without encoding its slices again."""

PAUSE_S = 0.1
"""Between two looks whether to go on waiting for another thread."""


@dataclass(frozen=True)
class Encoding:
    """What a model made of an image."""

    frame: Frame
    embedding: torch.Tensor
    """(1, 256, h, w), on the model's device."""


class Encodings:
    """Encodes images and remembers: the same pixels are encoded once, whatever they are called.

    The least recently used go first when there is no room. All methods may be called from any thread.

    Args:
        model: in evaluation mode.
        precision: see `Promptable.encode`.
        limit: bytes of embeddings that are kept; the last one always is.
    """

    def __init__(self, model: Promptable, precision: torch.dtype = torch.float32, limit: int = LIMIT) -> None:
        self._model, self._precision, self._limit = model, precision, limit
        self._kept: OrderedDict[str, Encoding] = OrderedDict()
        self._begun: dict[str, Future[Encoding]] = {}
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="encoding")
        self._closed = False
        for layer in model.modules():  # a request to stop does not wait for the whole encoder
            layer.register_forward_pre_hook(lambda *_: checkpoint())

    def __len__(self) -> int:
        return len(self._kept)

    def get(
        self, image: np.ndarray, window: tuple[float, float] | None = None, pixel: tuple[float, float] = SQUARE
    ) -> Encoding:
        """The encoding of an image, computed now unless it is kept or on its way.

        Args:
            image: see `to_rgb`.
            window: see `to_rgb`.
            pixel: see `Frame`.

        Raises:
            InputError: it is no image.
            Stopped: the job that this thread drives was asked to stop.
        """
        rgb = to_rgb(image, window)
        frame = self._frame(rgb, pixel)
        key = _key(rgb, frame)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            begun = self._begun.get(key)
        if begun is not None and not begun.cancel():  # it is being computed at this moment
            return _awaited(begun)
        return self._encode(key, rgb, frame)

    def ahead(
        self,
        images: Iterable[np.ndarray],
        window: tuple[float, float] | None = None,
        pixel: tuple[float, float] = SQUARE,
    ) -> None:
        """Encode images in the background, in this order; what was asked for before and has not begun is dropped.

        Raises:
            InputError: one of them is no image.
        """
        wanted = {}
        for rgb in (to_rgb(image, window) for image in images):
            frame = self._frame(rgb, pixel)
            wanted[_key(rgb, frame)] = (rgb, frame)
        with self._lock:
            self._begun = {key: begun for key, begun in self._begun.items() if not begun.cancel()}
            for key, (rgb, frame) in wanted.items():
                if key not in self._kept and key not in self._begun:
                    self._begun[key] = self._background.submit(self._encode_ahead, key, rgb, frame)

    def wait(self) -> None:
        """Until everything asked for ahead is there, or has failed: what failed is tried again when it is needed."""
        with self._lock:
            begun = list(self._begun.values())
        futures.wait(begun)

    def close(self) -> None:
        """Drop what has not begun and keep nothing; the encoding at work ends before its next layer."""
        self._closed = True
        self._background.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._kept.clear()

    def _encode_ahead(self, key: str, rgb: np.ndarray, frame: Frame) -> Encoding:
        with stoppable(lambda: self._closed):
            return self._encode(key, rgb, frame)

    def _encode(self, key: str, rgb: np.ndarray, frame: Frame) -> Encoding:
        try:
            encoding = self._compute(rgb, frame)
            with self._lock:
                self._kept[key] = encoding
                while len(self._kept) > 1 and sum(kept.embedding.nbytes for kept in self._kept.values()) > self._limit:
                    self._kept.popitem(last=False)
        finally:
            with self._lock:
                self._begun.pop(key, None)  # it would hold the embedding beyond the limit
        return encoding

    def _frame(self, rgb: np.ndarray, pixel: tuple[float, float]) -> Frame:
        return Frame((rgb.shape[0], rgb.shape[1]), self._model.image_size, pixel)

    @torch.inference_mode()
    def _compute(self, rgb: np.ndarray, frame: Frame) -> Encoding:
        image = to_tensor(rgb, frame).to(self._model.pixel_mean.device)
        return Encoding(frame, self._model.encode(image, self._precision))


def _awaited(begun: Future[Encoding]) -> Encoding:
    """What another thread is computing, unless the job of this one is asked to stop meanwhile."""
    while not begun.done():
        checkpoint()
        futures.wait([begun], timeout=PAUSE_S)
    return begun.result()


def _key(rgb: np.ndarray, frame: Frame) -> str:
    return f"{rgb.shape}{frame.resized}{hashlib.blake2b(np.ascontiguousarray(rgb).data, digest_size=16).hexdigest()}"
