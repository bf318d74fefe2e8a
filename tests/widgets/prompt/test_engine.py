"""The engine with a real session: pictures of any kind are read on the worker, answered, and followed through."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.widgets.prompt.engine import EACH, WHOLE, Engine, ImageSource, Question, Way, neighbours
from tests.prompting.small import small_model
from tests.widgets.prompt.fakes import maker


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture
def engine(model):
    from napari_synthseg.prompting import Session

    engine = Engine(lambda name, device: Session(model, device))
    yield engine
    engine.close()


def picture(data, rgb=False, window=WHOLE):
    shape = data.shape[:-1] if rgb else data.shape
    return ImageSource("scan", data, rgb, (1.0,) * len(shape), window)


def noise(*shape, dtype=np.float32):
    return (np.random.default_rng(1).random(shape) * 200).astype(dtype)


@pytest.mark.parametrize(
    ("data", "rgb", "place"),
    [
        (noise(20, 24), False, (None, None)),
        (noise(20, 24, 3, dtype=np.uint8), True, (None, None)),
        (noise(6, 20, 24, dtype=np.int16), False, (2, None, None)),
        (noise(6, 20, 24), False, (None, 7, None)),
        (noise(2, 6, 20, 24), False, (1, None, None, 3)),
        (dask.array.from_array(noise(6, 20, 24), chunks=(1, 20, 24)), False, (2, None, None)),
    ],
)
def test_a_picture_of_any_kind_is_answered(engine, data, rgb, place):
    prompts = Prompts(((2.0, 3.0),), (True,), (1.0, 1.0, 4.0, 4.0), None)
    answer = run(engine.answer(Question(picture(data, rgb), place, prompts, "small", "cpu")))
    shape = data.shape[:-1] if rgb else data.shape
    assert answer.mask.shape == tuple(n for n, at in zip(shape, place, strict=True) if at is None)
    assert answer.mask.dtype == bool


def test_the_window_is_that_of_the_whole_image_read_once(engine):
    data = noise(6, 20, 24)
    data[0] *= 100
    _, whole = engine._seen(picture(data), (3, None, None))
    assert whole == pytest.approx(tuple(np.percentile(data, (0.5, 99.5))))
    assert engine._seen(picture(data), (0, None, None))[1] is whole
    assert engine._seen(picture(data, window=EACH), (0, None, None))[1] is None
    assert engine._seen(picture(data, window=(1.0, 2.0)), (0, None, None))[1] == (1.0, 2.0)


def test_an_image_in_a_file_is_not_read_as_a_whole(engine):
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"][0])
        return np.full((1, 8, 8), float(read[-1]), np.float32)

    lazy = dask.array.map_blocks(block, chunks=((1,) * 100, (8,), (8,)), dtype=np.float32, meta=np.zeros((0,) * 3))
    _, window = engine._seen(picture(lazy), (50, None, None))
    assert len(set(read)) < 25
    assert window[0] < 10 and window[1] > 85


def test_an_object_is_followed(engine):
    mask = np.zeros((24, 20), bool)
    mask[4:12, 5:12] = True
    data = noise(2, 24, 5, 20)
    way = Way(picture(data), (1, None, 2, None), 2, {2: mask}, {2: Prompts()}, "small", "cpu", {"least_score": 0.0})
    assert way.place(4) == (1, None, 4, None)
    steps, reports = engine.follow(way), []
    result = run(steps, reports.append)
    assert result.shape == (24, 5, 20)
    np.testing.assert_array_equal(result[:, 2], mask)
    answers = [report for report in reports if hasattr(report, "mask")]
    assert answers and all(report.mask.shape == (24, 20) for report in answers)


@pytest.mark.parametrize("window", [WHOLE, EACH, (0.0, 3.0)])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_is_followed_is_seen_as_what_is_clicked_on(window, lazy):
    data = np.zeros((2, 40, 20, 20), np.float32)
    data[:, :, 4:12, 5:12] = 1
    data[:, ::3, 0, 0] = 9
    shown = picture(dask.array.from_array(data, chunks=(1, 1, 20, 20)) if lazy else data, window=window)
    make, place, prompts = maker(), (1, 6, None, None), Prompts(((5.0, 6.0),), (True,))
    engine = Engine(make)
    mask = run(engine.answer(Question(shown, place, prompts, "small", "cpu"))).mask
    result = run(engine.follow(Way(shown, place, 1, {6: mask}, {6: prompts}, "small", "cpu", {})))
    assert result.sum() == 40 * mask.sum() > 0
    # the clicked slice is seen by the click, and to compare the answer there with its mask
    assert len(make.log.seen) == 1 + 40 and len({values for _, values, _ in make.log.seen}) == 1


def test_an_image_that_cannot_be_read_is_said(engine):
    def broken(block_info=None):
        raise OSError("the disk is gone")

    lazy = dask.array.map_blocks(broken, chunks=((8,), (8,)), dtype=np.float32, meta=np.zeros((0,) * 2))
    with pytest.raises(InputError, match="the disk is gone"):
        run(engine.answer(Question(picture(lazy), (None, None), Prompts(((1.0, 1.0),), (True,)), "small", "cpu")))


def test_neighbours_are_inside_the_image():
    assert neighbours((3, None, None), 0, (8, 5, 5)) == ((4, None, None), (2, None, None))
    assert neighbours((0, None, None), 0, (8, 5, 5)) == ((1, None, None),)
    assert neighbours((1, None, 7, None), 2, (3, 5, 8, 5)) == ((1, None, 6, None),)
    assert neighbours((None, None), None, (5, 5)) == ()
