"""Weights made to do harm: they are refused in one sentence, in bounded memory, and nothing else is read or run."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from napari_synthseg.errors import InputError
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.weights import catalogue, store
from tests import keras_files as files
from tests.training.builders import unet_weights

MOST_MB = 200
"""Memory that refusing may take; most of it is importing."""


@pytest.fixture
def bounded():
    """The test takes no more memory than a little."""
    process = psutil.Process()
    before = process.memory_info().rss
    yield
    assert process.memory_info().rss - before < MOST_MB * 2**20


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        store.load_model(path)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


# HDF5


def keras_file(folder: Path) -> Path:
    return files.write_keras(folder / "mine.h5", files.random_arrays(files.unet_shapes("unet", 1, 33)))


def first_array(file: h5py.File) -> tuple[str, tuple[int, ...]]:
    found: list[h5py.Dataset] = []
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    shape = found[0].shape
    name = found[0].name
    del file[name]
    return name, shape


@pytest.mark.parametrize("claim", [{"shape": (2**40,)}, {"shape": (2**33,), "chunks": (2**24,), "compression": "gzip"}])
def test_an_array_that_claims_terabytes(tmp_path, bounded, claim):
    path = keras_file(tmp_path)
    with h5py.File(path, "a") as file:
        name, _ = first_array(file)
        file.create_dataset(name, **{"dtype": "f4", "chunks": True, **claim})
    assert "GiB" in refused(path)


def test_a_network_wider_than_its_file(tmp_path, bounded):
    """Every array is there, with the right number of axes, and not one number is stored."""
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        for name, shape in files.unet_shapes("unet", 1, 33).items():
            layer, what = name.rsplit("/", 1)
            wide = tuple(n if n in (1, 3) else 2000 * n for n in shape)
            file.create_dataset(f"{layer}/{layer}/{what}:0", shape=wide, dtype="f4", chunks=True)
    assert "GiB" in refused(path)


def test_numbers_from_another_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x01" * 4096)
    path = keras_file(tmp_path)
    with h5py.File(path, "a") as file:
        name, shape = first_array(file)
        file.create_dataset(name, shape=shape, dtype="f4", external=[(str(secret), 0, 4 * int(np.prod(shape)))])
    assert "other files" in refused(path)


def test_links_to_other_files_are_not_followed(tmp_path):
    path = keras_file(tmp_path)
    with h5py.File(path, "a") as file:
        name, _ = first_array(file)
        file[name] = h5py.ExternalLink("/etc/passwd", "/x")
    refused(path)


def test_links_in_a_circle_do_not_hang(tmp_path):
    path = keras_file(tmp_path)
    with h5py.File(path, "a") as file:
        file["again"] = file["/"]
        file["itself"] = h5py.SoftLink("/itself")
    store.load_model(path)


# safetensors


CARD = {"name": "mine", "network": "unet", "labels": [0, 2, 41], "features": 2, "levels": 3}


def safetensors_file(folder: Path, content: bytes | None = None, **changed) -> Path:
    path = folder / "mine.safetensors"
    if content is None:
        save_file({"x": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps({**CARD, **changed}))
    return path


def header(claims: dict, length: int | None = None) -> bytes:
    text = json.dumps(claims).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        header({}, length=2**62),
        header({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        header({"x": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 16]}}) + b"\0" * 16,
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [2**63, 16]}}) + b"\0" * 16,
        struct.pack("<Q", 2) + b"[]",
        b"\x80\x04\x95" + b"\0" * 64,
    ],
    ids=["empty", "endless header", "terabytes", "overflow", "backwards", "no object", "pickle"],
)
def test_a_header_that_lies(tmp_path, bounded, content):
    refused(safetensors_file(tmp_path, content))


@pytest.mark.parametrize("changed", [{"features": 4000}, {"levels": 14}, {"labels": list(range(32_000))}])
def test_a_card_of_a_network_that_no_memory_holds(tmp_path, bounded, changed):
    assert "too small" in refused(safetensors_file(tmp_path, **changed))


@pytest.mark.parametrize("kind, size", [("unetr", {"hidden": 76800}), ("swin-unetr", {"features": 24000})])
def test_a_card_of_a_transformer_that_no_memory_holds(tmp_path, request, kind, size):
    pytest.importorskip("monai")
    import monai.networks.nets.swin_unetr  # noqa: F401 - not what is bounded

    request.getfixturevalue("bounded")
    assert "too small" in refused(safetensors_file(tmp_path, network=kind, edge=96, field=96, spacing=1, **size))


@pytest.mark.parametrize(
    "changed", [{"features": -1}, {"features": "many"}, {"labels": []}, {"labels": None}, {"network": "os.system"},
                {"network": None}, {"levels": 0}],
)  # fmt: skip
def test_a_card_that_makes_no_sense(tmp_path, changed):
    refused(safetensors_file(tmp_path, **changed))


class Harm:
    """What a pickle can do."""

    def __reduce__(self):
        return (print, ("a pickle was run",))


@pytest.mark.parametrize("name", ["mine.pt", "mine.pth", "mine.safetensors", "mine.h5"])
def test_no_pickle_is_run(tmp_path, name, capsys):
    path = safetensors_file(tmp_path)
    path = path.with_name(name)
    with path.open("wb") as file:
        pickle.dump(Harm(), file)
    refused(path)
    assert "was run" not in capsys.readouterr().out


# Cards


def weights_with_card(folder: Path, **changes) -> Path:
    path = Path(unet_weights(folder / "mine.safetensors"))
    card = json.loads(path.with_suffix(".json").read_text()) | changes
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def test_a_card_that_is_nested_deeply(tmp_path):
    path = weights_with_card(tmp_path)
    path.with_suffix(".json").write_text('{"parts": ' + "[" * 200_000 + "]" * 200_000 + "}")
    assert "mine.json" in refused(path)


def test_a_card_of_gigabytes(tmp_path, bounded):
    path = weights_with_card(tmp_path)
    with path.with_suffix(".json").open("ab") as file:
        file.truncate(2**31)
    assert "mine.json" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": "all"}, {"labels": [0, "2"]}, {"labels": [0, 10**9]}, {"names": {"left": "x"}}, {"names": ["x"]},
        {"spacing_mm": "one"}, {"spacing_mm": 0}, {"features": -1}, {"features": 10**9}, {"levels": "five"},
        {"colors": {"2": "red"}}, {"parts": {"s2": 3}}, {"name": 5}, {"one_piece": [True]}, {"network": ["unet"]},
    ],
)  # fmt: skip
def test_a_card_of_wrong_types(tmp_path, changes, monkeypatch):
    path = weights_with_card(tmp_path, **changes)
    assert "mine.json" in refused(path) and next(iter(changes)) in refused(path)
    monkeypatch.setattr(catalogue, "folders", lambda: [tmp_path])
    assert catalogue.available() == []  # and nothing else is the worse for it


def test_weights_that_are_no_numbers_are_blamed_and_not_the_scan(tmp_path):
    path, model = tmp_path / "mine.safetensors", UNet3d([0, 2, 41], 2, 2)
    state = {name: one * torch.nan if one.is_floating_point() else one for name, one in model.state_dict().items()}
    store.save(path, state, {"name": "mine", "network": "unet", "labels": [0, 2, 41], "features": 2, "levels": 2})
    assert "mine.safetensors holds numbers that are not finite" in refused(path)
