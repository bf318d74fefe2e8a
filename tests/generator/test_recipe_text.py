"""Recipes as text: both are run, and give the sample that `synthesize` gives."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest

from napari_synthseg import cli
from napari_synthseg.generator.degradation import degraded
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.priors import Priors, preset
from napari_synthseg.generator.recipe_text import (
    command_line,
    degrade_command_line,
    degrade_python_code,
    python_code,
    shapes_command_line,
    shapes_python_code,
)
from napari_synthseg.generator.sample import label_map_files, picked, synthesize
from napari_synthseg.generator.shapes.options import SynthesizeShapesOptions
from napari_synthseg.io import read_labels, read_volume, write_labels, write_volume
from napari_synthseg.volume import Volume
from tests.generator.builders import boxes

CLASSES = 48
CHOICES = [
    ("synthseg", Priors()),
    ("synthseg-plus", replace(preset("synthseg-plus"), gamma_exponent=None, std=(0.0, 1 / 3), slice_direction=1)),
    ("synthseg-rc", replace(preset("synthseg-rc"), class_means=((50.0, 2.5), None) * (CLASSES // 2),
                            class_stds=((3.0, 0.1), None) * (CLASSES // 2))),
]  # fmt: skip


@pytest.fixture(scope="module")
def label_map(tmp_path_factory):
    """A label map with a name that a shell and Python must quote."""
    path = tmp_path_factory.mktemp("my maps") / 'it\'s "a" {map}.nii.gz'
    write_labels(path, Volume(boxes(side=12), np.eye(4)))
    return path


def run_command(text: str) -> int:
    program, *words = shlex.split(text)
    assert program == "napari-synthseg"
    return cli.main(words)


def images(folder) -> dict[str, np.ndarray]:
    return {path.name: read_volume(path).data for path in sorted(folder.glob("*_image.nii.gz"))}


@pytest.mark.parametrize(("name", "priors"), CHOICES)
def test_both_make_the_same_files_as_synthesize(label_map, tmp_path, capsys, name, priors) -> None:
    assert run_command(command_line(label_map, tmp_path / "the shell", name, priors, 7, 2)) == cli.DONE
    exec(python_code(label_map, tmp_path / "python", name, priors, 7, 2), {})
    by_shell, by_python = images(tmp_path / "the shell"), images(tmp_path / "python")
    assert list(by_shell) == list(by_python) and len(by_shell) == 2
    for seed, file in zip((7, 8), by_shell, strict=True):
        expected = synthesize(label_map, priors, seed=seed)
        assert np.array_equal(by_shell[file], expected.image.data)
        assert np.array_equal(by_python[file], expected.image.data)
        labels = read_labels(tmp_path / "python" / file.replace("_image", "_labels"))
        assert np.array_equal(labels.data, expected.labels.data)


def test_both_choose_the_same_map_of_a_folder(label_map, tmp_path, capsys) -> None:
    maps = tmp_path / "maps"
    for name in ("a", "b", "c"):
        write_labels(maps / f"{name}.nii.gz", Volume(boxes(side=12), np.eye(4)))
    run_command(command_line(maps, tmp_path / "shell", "no-bias", preset("no-bias"), 3, 3))
    exec(python_code(maps, tmp_path / "python", "no-bias", preset("no-bias"), 3, 3), {})
    assert list(images(tmp_path / "shell")) == list(images(tmp_path / "python"))
    chosen = {f"{picked(label_map_files(maps), seed).name[0]}_{seed:04d}_image.nii.gz" for seed in (3, 4, 5)}
    assert set(images(tmp_path / "shell")) == chosen


def test_a_recipe_names_only_what_differs() -> None:
    assert command_line("m.nii", "out", "synthseg", Priors(), 5, 1) == (
        "napari-synthseg synthesize m.nii -o out --seed 5"
    )
    text = command_line("m.nii", "out", "fast", replace(preset("fast"), flip=0.25), 5, 4)
    assert text.endswith("-o out --preset fast --prior flip=0.25 --seed 5 --count 4")
    code = python_code("m.nii", "out", "synthseg", Priors(), 5)
    assert "replace" not in code and "synthesize('m.nii', 'synthseg', seed=seed)" in code


@pytest.mark.parametrize("priors", [DegradationPriors(), DegradationPriors(noise_std=(0.0, 2.0), slice_direction=0)])
def test_a_degradation_can_be_repeated(tmp_path, capsys, priors) -> None:
    scan = tmp_path / "my scan.nii.gz"
    write_volume(scan, Volume(np.random.default_rng(0).random((20, 16, 12), np.float32), np.diag([2.0, 2, 3, 1])))
    assert run_command(degrade_command_line(scan, tmp_path / "shell", priors, 4, 2)) == cli.DONE
    exec(degrade_python_code(scan, tmp_path / "python", priors, 4, 2), {})
    expected = {f"my scan_{seed:04d}_image.nii.gz": degraded(read_volume(scan), priors, seed) for seed in (4, 5)}
    for folder in (tmp_path / "shell", tmp_path / "python"):
        found = images(folder)
        assert list(found) == list(expected)
        assert all(np.array_equal(found[name], made.image.data) for name, made in expected.items())


@pytest.mark.parametrize("options", [
    SynthesizeShapesOptions(side=64, seed=2),
    SynthesizeShapesOptions("xray", ("acquired_px=96,96", "noise=0.01,0.0333"), 3, side=96, bits=16),
])  # fmt: skip
def test_scenes_can_be_repeated(tmp_path, capsys, options) -> None:
    assert run_command(shapes_command_line(tmp_path / "shell", options, 2)) == cli.DONE
    exec(shapes_python_code(tmp_path / "python", options, 2), {})
    shell, python = ({p.name: p.read_bytes() for p in (tmp_path / f).glob("*.png")} for f in ("shell", "python"))
    assert len(shell) == 4 and shell == python


def test_scenes_of_records_can_be_repeated(tmp_path, capsys) -> None:
    options = SynthesizeShapesOptions("mr", ("acquired_px=96,96",), 3, side=96)
    assert run_command(shapes_command_line(tmp_path / "first", options, 2)) == cli.DONE
    records = tuple(sorted((tmp_path / "first").glob("*_record.json")))
    again = replace(options, preset="ct", record=records, bits=16)
    assert run_command(shapes_command_line(tmp_path / "shell", again)) == cli.DONE
    exec(shapes_python_code(tmp_path / "python", again), {})
    shell, python = ({p.name: p.read_bytes() for p in (tmp_path / f).glob("*.png")} for f in ("shell", "python"))
    assert len(shell) == 4 and shell == python
    objects = "mr_0003_objects.png"
    assert shell[objects] == (tmp_path / "first" / objects).read_bytes()


def test_a_recipe_of_scenes_names_only_what_differs() -> None:
    assert shapes_command_line("out", SynthesizeShapesOptions(seed=4)) == (
        "napari-synthseg synthesize-shapes -o out --seed 4"
    )
    assert "replace" not in shapes_python_code("out", SynthesizeShapesOptions("ct"))
