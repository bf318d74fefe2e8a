"""Samples as files: by options, by the command line and by Python, which write the same."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg import cli, io
from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation import degrade
from napari_synthseg.generator.files import (
    DegradeOptions,
    SynthesizeOptions,
    SynthesizeShapesOptions,
    command_line,
    degrade_files,
    free_stem,
    python_code,
    save_sample,
)
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.presets import STILL, changed, degradation, differences, preset
from napari_synthseg.generator.sample import Synthesized, label_map_files, picked, synthesize
from napari_synthseg.io import read_labels, read_volume, write_labels, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.volume import Volume
from tests.generator.builders import boxes, record

CLASSES = 48
CHOICES = [
    ("synthseg", preset("synthseg")),
    ("synthseg-plus", preset("synthseg-plus").with_values(gamma_exponent=None, std=(0.0, 1 / 3), slice_direction=1)),
    ("synthseg-rc", preset("synthseg-rc").with_values(class_means=((50.0, 2.5), None) * (CLASSES // 2),
                                                      class_stds=((3.0, 0.1), None) * (CLASSES // 2))),
]  # fmt: skip


def chosen(name: str, priors: GenerativeModel, seed: int = 0) -> SynthesizeOptions:
    return SynthesizeOptions(name, tuple(differences(priors, preset(name))), seed)


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
    options = chosen(name, priors, 7)
    assert run_command(command_line(label_map, tmp_path / "the shell", options, 2)) == cli.DONE
    exec(python_code(label_map, tmp_path / "python", options, 2), {})
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
    run_command(command_line(maps, tmp_path / "shell", SynthesizeOptions("no-bias", seed=3), 3))
    exec(python_code(maps, tmp_path / "python", SynthesizeOptions("no-bias", seed=3), 3), {})
    assert list(images(tmp_path / "shell")) == list(images(tmp_path / "python"))
    expected = {f"{picked(label_map_files(maps), seed).name[0]}_{seed:04d}_image.nii.gz" for seed in (3, 4, 5)}
    assert set(images(tmp_path / "shell")) == expected


def test_a_recipe_names_only_what_differs() -> None:
    assert command_line("m.nii", "out", SynthesizeOptions(seed=5)) == "napari-synthseg synthesize m.nii -o out --seed 5"
    text = command_line("m.nii", "out", chosen("fast", preset("fast").with_values(flip=0.25), 5), 4)
    assert text.endswith("-o out --preset fast --prior flip=0.25 --seed 5 --count 4")
    assert "\noptions = SynthesizeOptions(seed=5)\n" in python_code("m.nii", "out", SynthesizeOptions(seed=5))
    assert command_line(None, "out", SynthesizeShapesOptions(seed=4)) == (
        "napari-synthseg synthesize-shapes -o out --seed 4"
    )


def test_priors_come_from_a_file_too(label_map, tmp_path, capsys) -> None:
    (tmp_path / "my.json").write_text('{"preset": "no-bias", "steps": {"spatial": {"flip": 1.0}}}')
    words = ["--priors", str(tmp_path / "my.json"), "--set", "mean=100,101", "skull_strip=0"]
    assert cli.main(["synthesize", str(label_map), "-o", str(tmp_path / "out"), *words]) == cli.DONE
    (path,) = (tmp_path / "out").glob("*_record.json")
    drawn = Record.from_dict(json.loads(path.read_text()))
    assert drawn["spatial"]["flip"] and drawn["bias"]["bias_std"] == 0
    assert all(m < 15 or 100 <= m <= 101 for m in drawn["contrast"]["means"])
    assert cli.main(["synthesize", str(label_map), "-o", str(tmp_path / "x"), "--priors", "synthseg-rc"]) == 2
    assert "napari-synthseg priors SCANS" in capsys.readouterr().err


@pytest.mark.parametrize("prior", [(), ("noise_std=0,2", "slice_direction=0")])
def test_a_degradation_can_be_repeated(tmp_path, capsys, prior) -> None:
    scan = tmp_path / "my scan.nii.gz"
    write_volume(scan, Volume(np.random.default_rng(0).random((20, 16, 12), np.float32), np.diag([2.0, 2, 3, 1])))
    options, priors = DegradeOptions(prior, 4), changed(degradation(), prior)
    assert run_command(command_line(scan, tmp_path / "shell", options, 2)) == cli.DONE
    assert capsys.readouterr().out.splitlines() == [str(path) for path in sorted((tmp_path / "shell").glob("*image*"))]
    exec(python_code(scan, tmp_path / "python", options, 2), {})
    made = {seed: degrade(read_volume(scan), priors.sample(seed=seed)) for seed in (4, 5)}
    expected = {f"my scan_{seed:04d}_image.nii.gz": one for seed, one in made.items()}
    for folder in (tmp_path / "shell", tmp_path / "python"):
        found = images(folder)
        assert list(found) == list(expected)
        assert all(np.array_equal(found[name], made.image.data) for name, made in expected.items())


def test_scenes_of_records_can_be_repeated(tmp_path, capsys) -> None:
    options = SynthesizeShapesOptions("mr", ("acquired_px=96,96",), 3, side=96)
    assert run_command(command_line(None, tmp_path / "first", options, 2)) == cli.DONE
    records = tuple(sorted((tmp_path / "first").glob("*_record.json")))
    again = replace(options, preset="ct", record=records, bits=16)
    assert run_command(command_line(None, tmp_path / "shell", again)) == cli.DONE
    exec(python_code(None, tmp_path / "python", again), {})
    shell, python = ({p.name: p.read_bytes() for p in (tmp_path / f).glob("*.png")} for f in ("shell", "python"))
    assert len(shell) == 4 and shell == python
    objects = "mr_0003_objects.png"
    assert shell[objects] == (tmp_path / "first" / objects).read_bytes()


# Degraded scans


@pytest.fixture
def scans(tmp_path):
    """Two scans in a folder, with labels of the first beside it."""
    g = np.random.default_rng(0)
    for name in ("one", "two"):
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", Volume(g.random((12, 10, 8), np.float32), np.eye(4)))
    write_labels(tmp_path / "one_labels.nii.gz", Volume(g.integers(0, 3, (12, 10, 8)), np.eye(4)))
    return tmp_path / "scans"


def test_every_scan_gets_its_own_seeds(scans, tmp_path) -> None:
    written = run(degrade_files([scans], tmp_path / "out", DegradeOptions(seed=5), count=2))
    assert [path.name for path in written] == [f"{n}_image.nii.gz" for n in ("one_0005", "one_0006", "two_0007",
                                                                            "two_0008")]  # fmt: skip


def test_labels_and_the_other_half_of_a_pair_are_no_scans(scans, tmp_path) -> None:
    nib.save(nib.Nifti1Pair(np.random.default_rng(1).random((12, 10, 8)), np.eye(4)), scans / "pair.hdr")
    for name in ("one_dseg", "one_labels"):
        write_labels(scans / f"{name}.nii.gz", Volume(np.ones((12, 10, 8), np.uint8), np.eye(4)))
    written = run(degrade_files([scans], tmp_path / "out"))
    assert [path.name.split("_")[0] for path in written] == ["one", "pair", "two"]


def test_a_link_to_nowhere_is_not_left_out(scans, tmp_path) -> None:
    (scans / "zz").mkdir()
    (scans / "zz" / "zz.nii.gz").symlink_to(".git/annex/objects/x")
    with pytest.raises(InputError, match=r"zz\.nii\.gz .*link to a missing file"):
        run(degrade_files([scans], tmp_path / "out"))
    assert len(list((tmp_path / "out").glob("*_image.nii.gz"))) == 2


def test_nothing_is_replaced_unless_asked(scans, tmp_path) -> None:
    out = tmp_path / "out"
    run(degrade_files([scans], out, DegradeOptions(seed=1)))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="two_0002_image.nii.gz is there already.*--overwrite"):
        run(degrade_files([scans / "two.nii.gz"], out, DegradeOptions(seed=1, prior=("noise_std=0,0",)), count=2))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    run(degrade_files([scans], out, DegradeOptions(seed=1, prior=("noise_std=0,0",)), overwrite=True))
    assert {path.name for path in out.iterdir()} == set(before)
    assert (out / "two_0002_image.nii.gz").read_bytes() != before["two_0002_image.nii.gz"]


def test_a_mirrored_scan_has_the_labels_of_the_other_side() -> None:
    labels = Volume(np.zeros((12, 10, 8), np.int32), np.eye(4))
    labels.data[:6], labels.data[7, 5, 4] = 17, 99
    still = degradation().with_values(**STILL, flip=1.0)
    made = degrade(Volume(np.ones((12, 10, 8), np.float32), np.eye(4)), still.sample(seed=1), labels).labels
    assert made is not None and (made.data[6:] == 53).all() and made.data[4, 5, 4] == 99


@pytest.mark.parametrize(
    ("inputs", "options", "count", "what"),
    [([], {}, 1, "no scan"), (["nothing.nii"], {}, 1, "nothing.nii"), (["scans"], {}, 0, "at least 1"),
     (["empty"], {}, 1, "no scan"), (["scans"], {"labels": "one_labels.nii.gz"}, 1, "one by one"),
     (["scans"], {"prior": ("mean=1,2",)}, 1, "mean")],
)  # fmt: skip
def test_what_cannot_be_leaves_nothing(scans, tmp_path, inputs, options, count, what) -> None:
    (tmp_path / "empty").mkdir()
    if "labels" in options:
        options = {"labels": tmp_path / options["labels"]}
    with pytest.raises(InputError, match=what):
        run(degrade_files([tmp_path / i for i in inputs], tmp_path / "out", DegradeOptions(**options), count))
    assert not (tmp_path / "out").exists()


# One sample: complete, or not there at all


def sample(labels: bool = True) -> Synthesized:
    grid = np.diag([1.0, 1, 2, 1])
    image = Volume(np.random.default_rng(0).random((4, 5, 6), np.float32), grid)
    return Synthesized(image, Volume(np.full((4, 5, 6), 17, np.int32), grid) if labels else None, record())  # type: ignore[arg-type]


def test_image_labels_and_record(tmp_path) -> None:
    path = save_sample(tmp_path / "new", "one", sample(), {"seed": 3})
    assert {p.name for p in path.parent.iterdir()} == {
        "one_image.nii.gz", "one_labels.nii.gz", "one_labels.tsv", "one_record.json"}  # fmt: skip
    assert np.array_equal(read_volume(path).data, sample().image.data)
    assert (read_labels(tmp_path / "new" / "one_labels.nii.gz").data == 17).all()
    text = json.loads((tmp_path / "new" / "one_record.json").read_text())
    assert text["seed"] == 3 and Record.from_dict(text) == record()


def test_labels_of_an_earlier_sample_do_not_stay_beside_an_image_that_has_none(tmp_path) -> None:
    save_sample(tmp_path, "one", sample())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match="belongs to an earlier sample"):
        save_sample(tmp_path, "one", sample(labels=False))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_free_stem_is_of_no_sample_that_is_there(tmp_path) -> None:
    assert free_stem(tmp_path / "none yet", "one") == "one"
    for expected in ("one", "one_2", "one_3"):
        assert free_stem(tmp_path, "one") == expected
        save_sample(tmp_path, expected, sample(labels=False))


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    save_sample(tmp_path, "one", sample())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io, "write_labels", full)
    with pytest.raises(InputError, match="No space left"):
        save_sample(tmp_path, "one", sample(), {"seed": 9})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_place_that_is_no_folder(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        save_sample(tmp_path / "file", "one", sample())
