"""Manifests of images and masks: what they may hold, and the sentences about what cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.prompting.evaluate import check, read_image, read_manifest, read_mask
from tests.prompting.manifests import SHAPE, square, write_manifest, write_picture


def refused(path) -> str:
    """What is said about a manifest that cannot be used."""
    with pytest.raises(InputError) as error:
        run(check(read_manifest(path)))
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_lines_become_cases_with_paths_beside_the_manifest(tmp_path):
    path = write_manifest(tmp_path / "set", masks=2)
    first, second = read_manifest(path)
    assert (first.modality, first.dataset, first.image, first.mask) == ("CT", "A", "0.png", "0_0.png")
    assert second.mask_path == tmp_path / "set" / "0_1.png"
    run(check([first, second]))


def test_other_columns_and_a_byte_order_mark_do_no_harm(tmp_path):
    path = write_manifest(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\ufeffnote," + lines[0] + "\n" + "".join(f'"a, b",{line}\n' for line in lines[1:]), "utf-8")
    assert [case.dataset for case in read_manifest(path)] == ["A"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_manifest_as_spreadsheets_save_it(tmp_path, encoding, delimiter):
    path = write_manifest(tmp_path)
    path.write_bytes(path.read_text().replace(",", delimiter).replace("\n", "\r\n").encode(encoding))
    assert [(case.dataset, case.mask) for case in read_manifest(path)] == [("A", "0_0.png")]


def test_a_missing_column_is_named(tmp_path):
    path = write_manifest(tmp_path)
    rewrite(path, "mask", "masks")
    assert "no column 'mask'" in refused(path)


def test_an_empty_cell_is_named_with_its_line(tmp_path):
    path = write_manifest(tmp_path, masks=2)
    rewrite(path, "CT,A,0.png,0_1.png", "CT,,0.png,0_1.png")
    assert "'dataset' is empty in line 3 of manifest.csv" in refused(path)
    rewrite(path, "CT,,0.png,0_1.png", "CT,A,0.png")
    assert "'mask' is empty in line 3" in refused(path)


def test_a_manifest_that_is_no_table_is_refused(tmp_path):
    for content in (b"", b"\xff\xfe\x00\x01" * 20, b"modality,dataset,image,mask\n"):
        (tmp_path / "manifest.csv").write_bytes(content)
        assert "manifest.csv" in refused(tmp_path / "manifest.csv")
    assert "nothing.csv" in refused(tmp_path / "nothing.csv")


def test_a_missing_file_is_named_with_its_line(tmp_path):
    path = write_manifest(tmp_path, masks=2)
    (tmp_path / "0_1.png").unlink()
    sentence = refused(path)
    assert "0_1.png does not exist" in sentence and "line 3" in sentence
    (tmp_path / "0.png").unlink()
    assert "The image" in (sentence := refused(path)) and "line 2" in sentence


@pytest.mark.parametrize(
    ("mask", "says"), [(square().T, ("48 x 32", "32 x 48")), (np.zeros(SHAPE, bool), ("0_0.png is empty",))]
)
def test_a_mask_of_another_shape_or_an_empty_one_is_named_with_its_line(tmp_path, mask, says):
    path = write_manifest(tmp_path)
    write_picture(tmp_path / "0_0.png", mask)
    sentence = refused(path)
    assert all(words in sentence for words in (*says, "line 2"))


@pytest.mark.parametrize("name", ["0.png", "0_0.png"])
def test_what_is_no_picture_or_damaged_is_named(tmp_path, name):
    path = write_manifest(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_text("no picture")
    assert name in refused(path)
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    case = read_manifest(path)[0]
    with pytest.raises(InputError, match=rf"line 2 .*{name} is damaged"):
        (read_image if name == "0.png" else read_mask)(case)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_masks_of_every_kind_of_pixels(tmp_path, mode):
    path = write_manifest(tmp_path)
    if mode == "I;16":
        mask = Image.fromarray(square().astype(np.uint16))
    elif mode == "P":
        mask = Image.fromarray(square().astype(np.uint8))
        mask.putpalette([9, 9, 9, 200, 0, 0])
    else:
        mask = Image.fromarray(square().astype(np.uint8) * 255).convert(mode)
    mask.save(tmp_path / "0_0.png")
    assert Image.open(tmp_path / "0_0.png").mode == mode
    assert np.array_equal(read_mask(read_manifest(path)[0]), square())


@pytest.mark.parametrize("name", ["0.png", "0_0.png"])
def test_a_picture_of_several_pages_is_refused(tmp_path, name):
    path = write_manifest(tmp_path)
    page = Image.fromarray(np.zeros(SHAPE, np.uint8))
    page.save(tmp_path / name, save_all=True, append_images=[Image.fromarray(np.full(SHAPE, 9, np.uint8))])
    sentence = refused(path)
    assert f"{name} holds 2 pages" in sentence and "line 2 of manifest.csv" in sentence
