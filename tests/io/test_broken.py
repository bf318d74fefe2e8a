"""Files that cannot be read, beside those of the corpus: one `InputError` of one sentence that names the file."""

from __future__ import annotations

import bz2
import gzip
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks, read_scans, read_volume, write_exactly, write_volume
from napari_synthseg.volume import Volume
from tests.conftest import examples
from tests.io.builders import AFFINE, image_data, refusal
from tests.io.corpus import bomb


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.nii.gz")
    assert "pipe" in refusal(tmp_path / "scan.nii.gz")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there are no such devices")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mgh", ".nrrd"])
def test_a_device_that_never_ends(tmp_path, ending):
    (tmp_path / f"scan{ending}").symlink_to("/dev/zero")
    assert "device" in refusal(tmp_path / f"scan{ending}")


@pytest.mark.parametrize(("to", "says"), [("scan.nii", "does not exist"), (".git/annex/objects/y", "datalad get")])
def test_a_link_to_itself_or_to_nowhere(tmp_path, to, says):
    (tmp_path / "scan.nii").symlink_to(to)
    assert says in refusal(tmp_path / "scan.nii")


@pytest.mark.parametrize("name", ["no.nii", "x" * 300 + ".nii", "/".join(["y" * 200] * 30) + ".nii", "a\0b.nii"])
def test_names_that_no_file_has_or_can_have(tmp_path, name):
    assert "does not exist" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["äö 脳 😀.nii.gz", "a b\tc.mgz", "-o.nii", "'$(x)`.nrrd", "z" * 240 + ".nii.gz"])
def test_names_of_any_letters(tmp_path, name):
    write_volume(tmp_path / name, Volume(image_data(np.int16), AFFINE))
    np.testing.assert_array_equal(read_volume(tmp_path / name).data, image_data(np.int16))


@pytest.mark.parametrize("name", ["a.txt", "a.nii.bz2", "noending"])
def test_unknown_ending(tmp_path, name):
    (tmp_path / name).write_text("x")
    said = refusal(tmp_path / name)
    assert "no known ending" in said and "no DICOM, FreeSurfer, NIfTI or NRRD" in said


def test_a_small_file_that_claims_more_voxels_than_there_is_memory(tmp_path, monkeypatch):
    """Such as a packed file of zeros."""
    monkeypatch.setattr(checks, "free_host_memory", lambda: 1000)
    for name in ("a.nii.gz", "a.mgz", "a.nrrd"):
        write_volume(tmp_path / name, Volume(image_data(), AFFINE))
        assert "of memory" in refusal(tmp_path / name)


def test_a_header_without_its_voxels_and_a_mask_of_hardly_anything_are_no_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "free_host_memory", lambda: None)  # not known on every system
    checks.check_shape(tmp_path / "scan.nhdr", (1400, 1400, 1400))
    packed = len(gzip.compress(bytes(1 << 24))) / (1 << 24) * 1300**3
    checks.check_shape(tmp_path / "mask.nii.gz", (1300, 1300, 1300), 1, packed=packed)
    for shape, count in (((1300, 1300, 1400), 1), ((130, 130, 1300), 110)):
        with pytest.raises(InputError, match=r"MB cannot hold them: copy"):
            checks.check_shape(tmp_path / "scan.mgz", shape, 1, count=count, packed=packed)
    monkeypatch.setattr(checks, "free_host_memory", lambda: 4.0e9)
    with pytest.raises(InputError, match=r"4.4 GB of memory to read, but 4.0 GB are left: crop"):
        checks.check_shape(tmp_path / "mask.nii.gz", (1300, 1300, 1300), 1, packed=packed)


def test_the_footer_of_a_bomb_is_not_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(gzip.GzipFile, "seek", lambda *_: pytest.fail("that unpacks what lies before"))
    assert "cannot hold them" in refusal(bomb(tmp_path, "mgz"))


@pytest.mark.parametrize(("ending", "packer"), [("nii.gz", gzip), ("mgz", gzip), ("nrrd", gzip), ("nrrd", bz2)])
def test_a_packed_file_is_unpacked_no_further_than_its_header_says(tmp_path, ending, packer, monkeypatch):
    path = tmp_path / f"scan.{ending}"
    write_volume(path, Volume(image_data(np.int16), AFFINE))
    raw = path.read_bytes()
    start = raw.index(checks.GZIP)
    content = gzip.decompress(raw[start:]) + bytes(1 << 22)
    head = raw[:start].replace(b"gzip", packer.__name__.replace("bz2", "bzip2").encode())
    path.write_bytes(head + packer.compress(content))
    monkeypatch.setattr(checks, "_SLACK", 1 << 18)
    monkeypatch.setattr(checks, "_CHUNK", 1 << 16)
    seen = []
    monkeypatch.setattr(checks, "unpacked", lambda *words, whole=checks.unpacked: seen.append(whole(*words)) or seen[0])
    np.testing.assert_array_equal(read_volume(path).data, image_data(np.int16))
    assert len(seen[0]) < 1 << 19


# Whatever happens to the bytes of a header


FORMATS = {".nii": 352, ".mgh": 90, ".nrrd": 400}


def changed_file(folder: Path, ending: str, changes: list[tuple[float, int]]) -> Path:
    path = folder / f"a{ending}"
    write_volume(path, Volume(image_data(np.int16), AFFINE))
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[int(place * min(FORMATS[ending], len(raw)))] = value
    path.write_bytes(bytes(raw))
    return path


@contextmanager
def refused_in_one_sentence(path: Path) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except InputError as error:
            assert str(error).startswith(str(path)) and str(error).endswith(".") and "\n" not in str(error)


@pytest.mark.parametrize("ending", FORMATS)
@given(changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes(tmp_path, ending, changes):
    """What opens in a viewer can be saved."""
    path = changed_file(tmp_path, ending, changes)
    with refused_in_one_sentence(path):
        v = read_volume(path)
        assert v.data.ndim == 3 and np.isfinite(v.data).all() and np.isfinite(v.affine).all()
        assert (v.spacing > 0).all()
    with refused_in_one_sentence(path):
        (scan,) = read_scans(path)
        data = scan.data if isinstance(scan.data, np.ndarray) else scan.data.volume(0)
        assert data.ndim in (3, 4) and np.isfinite(scan.affine).all()
        assert scan.step is None or scan.step > 0
        write_exactly(path, data, scan.affine, step=scan.step, header=scan.header)
        assert np.abs(read_scans(path)[0].affine - scan.affine).max() < 1e-3
