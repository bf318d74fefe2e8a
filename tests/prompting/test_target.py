"""What a prompt job looks at: where positions lie in scans and pictures, and masks drawn on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from napari_synthseg.errors import InputError
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.prompting import Prompts
from napari_synthseg.prompting.options import PromptOptions
from napari_synthseg.prompting.target import read_mask, read_target
from napari_synthseg.volume import Volume

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -20], [0, 1, 0, 5], [0, 0, 0, 1]])
"""Axes L, S, A with spacings of 2, 1 and 3 mm."""
SHAPE = (12, 10, 8)
SOMETHING = PromptOptions(inside=((0, 0, 0),))


@pytest.fixture
def target(tmp_path):
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    write_volume(tmp_path / "scan.nii.gz", Volume(data, AFFINE))
    return read_target(tmp_path / "scan.nii.gz")


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "picture.png")
    return read_target(tmp_path / "picture.png")


@pytest.mark.parametrize(("name", "axis"), [("sagittal", 0), ("coronal", 2), ("axial", 1), ("auto", 2)])
def test_slices_are_named_as_in_the_body(target, name, axis):
    assert target.axis(name) == axis


def test_where_voxels_are_cubes_slices_are_axial(tmp_path):
    write_volume(tmp_path / "cubes.nii.gz", Volume(np.random.default_rng(0).random((4, 5, 6)), np.eye(4)))
    assert read_target(tmp_path / "cubes.nii.gz").axis("auto") == 2


def test_positions_are_voxels_or_millimetres(target):
    millimetres = replace(SOMETHING, coordinates="mm")
    np.testing.assert_allclose(target.voxel((4, 5, 6), SOMETHING), (4, 5, 6))
    np.testing.assert_allclose(target.voxel(tuple(AFFINE[:3] @ (4, 5, 6, 1)), millimetres), (4, 5, 6))


def test_prompts_are_gathered_by_their_slice(target):
    options = PromptOptions(
        inside=((4, 5, 6), (1, 2, 3), (7.2, 1, 6.4)), outside=((0, 0, 6),), box=((1, 2, 3, 5, 6, 3),), axis="coronal"
    )
    axis, prompts = target.prompts(options)
    assert axis == 2 and set(prompts) == {3, 6}
    assert prompts[3] == Prompts(((1, 2),), (True,), (1, 2, 5, 6))
    assert prompts[6] == Prompts(((4, 5), (7.2, 1), (0, 0)), (True, True, False))


def test_a_pictures_positions_are_counted_from_the_left_and_from_the_top(picture):
    axis, prompts = picture.prompts(PromptOptions(inside=((25, 3),), box=((20, 1, 29, 10),)))
    assert axis == 0 and prompts == {0: Prompts(((3, 25),), (True,), (1, 20, 10, 29))}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"inside": ((1, 2),)}, "give x y z"),
        ({"inside": ((12, 0, 0),)}, "has 12 x 10 x 8 voxels"),
        ({"inside": ((-30, 0, 0),), "coordinates": "mm"}, "lies outside"),
        ({"box": ((1, 2, 3, 5, 6, 5),)}, "slices 3 to 5"),
        ({"box": ((1, 2, 3, 5, 6, 3), (1, 2, 3, 4, 4, 3))}, "two boxes"),
        ({"box": ((1, 2, 3, 5, 6),)}, "give x y z"),
        ({"box": ((),)}, "give x y z"),
    ],
)
def test_positions_that_do_not_fit_are_refused(target, options, sentence):
    with pytest.raises(InputError, match=sentence):
        target.prompts(PromptOptions(**options))


def test_drawings_become_points_and_masks_of_their_slice(target):
    options = PromptOptions(scribble=((1, 2, 3, 9, 2, 3),), lasso_outside=((2, 4, 3, 9, 4, 3, 9, 9, 3),))
    _, prompts = target.prompts(replace(options, axis="coronal"))
    assert set(prompts) == {3} and prompts[3].points[:2] == ((1, 2), (2.6, 2))
    assert True in prompts[3].positive and False in prompts[3].positive
    _, prompts = target.prompts(PromptOptions(lasso=((2, 2, 3, 9, 2, 3, 9, 7, 3, 2, 7, 3),), axis="coronal"))
    assert prompts[3].mask.shape == (12, 10) and prompts[3].mask[5, 5] > 0.9
    for wrong in ({"scribble": ((1, 2, 3, 9, 2, 4),)}, {"lasso": ((1, 2, 3, 9, 2, 3),)}, {"scribble": ((1, 2),)}):
        with pytest.raises(InputError):
            target.prompts(PromptOptions(**wrong, axis="coronal"))


def test_a_picture_says_its_size_as_width_and_height(picture):
    with pytest.raises(InputError, match="30 x 20"):
        picture.prompts(PromptOptions(inside=((3, 25),)))


@pytest.mark.parametrize(
    ("mode", "channels", "kind"),
    [("L", (), np.uint8), ("RGB", (3,), np.uint8), ("RGBA", (4,), np.uint8), ("P", (3,), np.uint8),
     ("LA", (), np.uint8), ("I;16", (), np.uint16), ("1", (), bool), ("CMYK", (3,), np.uint8), ("F", (), np.float32)],
)  # fmt: skip
def test_pictures_of_any_mode_are_read(tmp_path, mode, channels, kind):
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "F") else "picture.png")
    Image.fromarray(np.eye(20, dtype=np.uint8) * 200).convert("L").convert(mode).save(path)
    array = read_target(path).array
    assert array.shape == (1, 20, 20, *channels) and array.dtype == kind
    assert (array[0, 5, 5] != array[0, 5, 6]).any()


def test_what_is_no_picture_is_said(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    for name in ("broken.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            read_target(tmp_path / name)


def test_a_mask_may_be_stored_with_other_axes(target, tmp_path):
    drawn = np.zeros(SHAPE, np.int16)
    drawn[2:5, 3:6, 4] = 7
    drawn[0, 0, 0] = 2
    turned = Volume(drawn.transpose(2, 0, 1), AFFINE[:, [2, 0, 1, 3]])
    write_labels(tmp_path / "mask.nii.gz", turned)
    options = replace(SOMETHING, mask=tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_mask(target, options), drawn > 0)
    np.testing.assert_array_equal(read_mask(target, replace(options, mask_label=7)), drawn == 7)
    with pytest.raises(InputError, match="no label 5"):
        read_mask(target, replace(options, mask_label=5))


def test_a_mask_on_another_grid_is_refused(target, tmp_path):
    write_labels(tmp_path / "mask.nii.gz", Volume(np.ones(SHAPE, np.int16), np.eye(4)))
    with pytest.raises(InputError, match="grid"):
        read_mask(target, replace(SOMETHING, mask=tmp_path / "mask.nii.gz"))


def test_a_pictures_mask_is_a_picture(picture, tmp_path):
    drawn = np.zeros((20, 30), np.uint8)
    drawn[3:6, 4:9] = 255
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(picture, replace(SOMETHING, mask=tmp_path / "mask.png"))[0], drawn > 0)
    page = Image.fromarray(drawn)
    page.save(tmp_path / "mask.tif", save_all=True, append_images=[page])
    with pytest.raises(InputError, match="holds 2 pages: save the page of the mask as a file"):
        read_mask(picture, replace(SOMETHING, mask=tmp_path / "mask.tif"))


@pytest.mark.parametrize(
    "wrong",
    [{}, {"outside": ((1, 2, 3),)}, {"label": 0}, {"window": (5, 5)}, {"threads": 0}, {"mask_label": 3}],
)
def test_options_that_cannot_be_used_are_refused(wrong):
    with pytest.raises(InputError):
        PromptOptions(**({} if wrong in ({}, {"outside": ((1, 2, 3),)}) else {"inside": ((1, 2, 3),)}) | wrong)


@pytest.mark.parametrize("name", ["stack.tif", "stack.TIFF", "stack.png", "stack.gif", "stack.webp"])
def test_a_page_of_several_has_to_be_chosen(tmp_path, name):
    pages = [Image.fromarray(np.full((8, 8), 50 * k, np.uint8)) for k in range(1, 5)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=f"{name} holds 4 pages: choose one by its index, 0 to 3"):
        read_target(tmp_path / name)
    assert abs(read_target(tmp_path / name, 2).array[..., 0].astype(int) - 150).max() <= 2  # WebP loses a little
    for index in (4, -1):
        with pytest.raises(InputError, match=f"no page {index}"):
            read_target(tmp_path / name, index)


def test_a_picture_is_the_way_up_that_its_file_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a photo taken with the camera upright: turn it clockwise
    Image.fromarray(np.tile(np.arange(0, 240, 12, dtype=np.uint8), (10, 1))).save(tmp_path / "a.png", exif=exif)
    assert read_target(tmp_path / "a.png").array.shape == (1, 20, 10)
    assert read_target(tmp_path / "a.png").array[0, 0, 0] == 0
