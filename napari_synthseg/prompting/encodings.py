"""Images as a promptable model sees them, and their embeddings: cached, kept on disk, and computed ahead.

SAM resizes an image so that its longer side has 1024 pixels, normalizes it and pads it to a square; prompts follow.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional as F

from napari_synthseg.atomic_io import placed, writing
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import checkpoint, stoppable
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.prompting.prompts import percentiles

SURE = 10.0
"""Logit of a sure inside in a mask prompt; a sure outside has its negative."""
IMAGE_SIZE = 1024
"""Pixels of the longer side after resizing, if the model has no other."""


@dataclass(frozen=True)
class Frame:
    """Geometry of an image in the model's square: resized, at the top left.

    Positions of images are (row, column) with pixel centers at whole numbers; those of the model are (x, y), which SAM
    gets by scaling alone.
    """

    shape: tuple[int, int]
    """Rows and columns of the image."""
    size: int = IMAGE_SIZE
    """Pixels a side of the square."""
    pixel: tuple[float, float] = (1.0, 1.0)
    """Height and width of a pixel, in any unit, so that the model sees true proportions."""

    @property
    def resized(self) -> tuple[int, int]:
        """Rows and columns of the image in the square."""
        lengths = [count * side / max(self.pixel) for count, side in zip(self.shape, self.pixel, strict=True)]
        scale = self.size / max(lengths)
        rows, columns = (max(1, int(length * scale + 0.5)) for length in lengths)
        return rows, columns

    def to_model(self, positions: np.ndarray) -> np.ndarray:
        """Convert positions (..., 2) from (row, column) of the image to (x, y) of the square, float32."""
        scale = np.array(self.resized) / np.array(self.shape)
        return (np.asarray(positions, dtype=np.float64) * scale)[..., ::-1].astype(np.float32)

    def box_to_model(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """Convert (row0, column0, row1, column1), in either order of the corners, to (x0, y0, x1, y1), float32."""
        corners = np.sort(np.reshape(np.asarray(box, dtype=np.float64), (2, 2)), axis=0)
        return self.to_model(corners).reshape(4)

    def mask_to_model(self, mask: np.ndarray) -> torch.Tensor:
        """Convert a mask (rows, columns) of the image to the prompt encoder's (1, 1, size / 4, size / 4).

        It is bool, or the probability of inside, 0-1; a sure inside has the logit `SURE`.
        """
        covered = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
        inside = F.interpolate(covered, self.resized, mode="bilinear", align_corners=False)
        padded = F.pad(inside, (0, self.size - self.resized[1], 0, self.size - self.resized[0]))
        return (F.avg_pool2d(padded, 4) * 2 - 1) * SURE


def to_rgb(image: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Convert an image (rows, columns), or (rows, columns, 3 or 4), of any kind of numbers to (rows, columns, 3) uint8.

    Bytes stay as they are; opacity is left out. Other numbers are windowed: from the 0.5th to the 99.5th percentile of
    the finite ones, or as `window` says; those that are not finite become black.

    Raises:
        InputError: it has another shape, or no pixels.
    """
    array = np.asarray(image)
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {3, 4}) or array.size == 0:
        raise InputError(f"An image of the shape {array.shape} cannot be prompted: give one slice, gray or RGB.")
    if np.iscomplexobj(array):
        raise InputError("An image of complex numbers cannot be prompted: give their magnitude.")
    if array.ndim == 3:
        array = array[..., :3]
    if array.dtype != np.uint8 or window is not None:
        array = _windowed(array, window)
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array


def to_tensor(rgb: np.ndarray, frame: Frame) -> torch.Tensor:
    """Resize (rows, columns, 3) in 0-255 to (1, 3, H, W) for `Promptable.encode` as SAM does: Pillow, bilinear."""
    rows, columns = frame.resized
    resized = Image.fromarray(np.ascontiguousarray(rgb)).resize((columns, rows), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float()


def _windowed(array: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    values = array.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(array.shape, np.uint8)
    low, high = window if window is not None else percentiles(values[finite])
    scaled = (np.where(finite, values, low) - low) / max(high - low, float(np.finfo(np.float32).tiny))
    return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


SQUARE = (1.0, 1.0)
LIMIT = 2**30
"""Bytes of cached embeddings: 256 of them (4 MiB a slice), so that an object propagated through a head can be corrected
without encoding its slices again."""
PAUSE_S = 0.1
"""Seconds between two checks for a stop request while another thread encodes."""


@dataclass(frozen=True)
class Encoding:
    """Embedding (1, 256, h, w) of an image, on the model's device, with the image's frame."""

    frame: Frame
    embedding: torch.Tensor

    def sample(self, cells: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Interpolate values (1, C, h, w) on the embedding's grid at pixels (H, W, 2), (row, column): (1, C, H, W)."""
        scale = torch.tensor(self.frame.resized) / torch.tensor(self.frame.shape)
        at = ((pixels + 0.5) * scale / (self.frame.size / 2) - 1).flip(-1)[None]
        return F.grid_sample(cells, at.to(cells), padding_mode="border", align_corners=False)


class Encodings:
    """Cache of embeddings: the same pixels are encoded once.

    The least recently used ones are dropped first. All methods may be called from any thread.

    Args:
        model: in evaluation mode.
        precision: see `Promptable.encode`.
        limit: bytes of cached embeddings; the last one is always kept.
        folder: keep embeddings on disk too, 2 MiB an image (float16), for later sessions with the same encoder.
    """

    def __init__(
        self, model: Promptable, precision: torch.dtype = torch.float32, limit: int = LIMIT, folder: Path | None = None
    ) -> None:
        self._model, self._precision, self._limit = model, precision, limit
        self._stored = StoredEmbeddings(folder, model, precision) if folder is not None else None
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
        """Return the encoding of an image, computed now unless it is cached or being computed.

        Args:
            image, window: see `to_rgb`.
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
        """Encode images in the background, in this order; earlier requests that have not started are dropped."""
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
        """Wait until all images requested ahead are encoded or have failed; failed ones are tried again when needed."""
        with self._lock:
            begun = list(self._begun.values())
        futures.wait(begun)

    def close(self) -> None:
        """Drop all requests and embeddings; a running encoding ends before its next layer."""
        self._closed = True
        self._background.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._kept.clear()

    def _encode_ahead(self, key: str, rgb: np.ndarray, frame: Frame) -> Encoding:
        with stoppable(lambda: self._closed):
            return self._encode(key, rgb, frame)

    def _encode(self, key: str, rgb: np.ndarray, frame: Frame) -> Encoding:
        try:
            encoding = self._stored.load(key, frame) if self._stored is not None else None
            if encoding is None:
                with torch.inference_mode():
                    image = to_tensor(rgb, frame).to(self._model.pixel_mean.device)
                    encoding = Encoding(frame, self._model.encode(image, self._precision))
                if self._stored is not None:
                    self._stored.save(key, encoding)
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


class StoredEmbeddings:
    """Embeddings in a folder, one file an image, named by the hash of its pixels and of the encoder.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, model: Promptable, precision: torch.dtype) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.blake2b(str(precision).encode(), digest_size=16)
        for tensor in model.image_encoder.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        self._folder, self._encoder = folder, digest.hexdigest()
        self._device = model.pixel_mean.device

    def load(self, key: str, frame: Frame) -> Encoding | None:
        """Return the embedding of an image by the key of its pixels; None if there is none, or the file is damaged."""
        try:
            with safe_open(self._path(key), "pt") as file:
                if file.metadata() != self._about(key):
                    return None
                return Encoding(frame, file.get_tensor("embedding").float().to(self._device))
        except (OSError, SafetensorError):
            return None

    def save(self, key: str, encoding: Encoding) -> None:
        tensors = {"embedding": encoding.embedding.half().cpu().contiguous()}
        with writing(self._folder), placed(self._path(key)) as part:
            save_file(tensors, part, self._about(key))

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(f"{key}{self._encoder}".encode(), digest_size=16).hexdigest()
        return self._folder / f"{name}.safetensors"

    def _about(self, key: str) -> dict[str, str]:
        return {"image": key, "encoder": self._encoder}


def _awaited(begun: Future[Encoding]) -> Encoding:
    """Wait for the result of another thread, unless this thread's job is asked to stop."""
    while not begun.done():
        checkpoint()
        futures.wait([begun], timeout=PAUSE_S)
    return begun.result()


def _key(rgb: np.ndarray, frame: Frame) -> str:
    return f"{rgb.shape}{frame.resized}{hashlib.blake2b(np.ascontiguousarray(rgb).data, digest_size=16).hexdigest()}"
