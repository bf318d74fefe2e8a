"""Class priors from files: tables and SynthSeg's arrays."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.class_priors import read_class_priors
from napari_synthseg.generator.files import SynthesizeOptions
from napari_synthseg.generator.sample import synthesize
from napari_synthseg.volume import Volume
from tests.generator.builders import boxes, small_map
from tests.shared_data import shared

COUNT = max(s.generation_class for s in anatomy.table()) + 1


def class_of(value: int) -> int:
    return anatomy.structure(value).generation_class


def table(tmp_path, text: str, name: str = "t1.tsv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_table_by_structure(tmp_path) -> None:
    path = table(tmp_path, "structure\tmean\tsd\tmean_sd\n2\t160\t15\t4\nHippocampus\t100\t12\t\n")
    means, stds = read_class_priors(path)
    assert means[class_of(2)] == (160, 4) and stds[class_of(2)] == (15, 0)
    assert means[class_of(17)] == means[class_of(53)] == (100, 0)
    assert means[class_of(3)] is None and len(means) == COUNT


def test_a_table_by_class_with_commas(tmp_path) -> None:
    means, stds = read_class_priors(table(tmp_path, "class,mean,sd,sd_sd\n3,10,2,1\n", "t1.csv"))
    assert means[3] == (10, 0) and stds[3] == (2, 1) and means.count(None) == COUNT - 1


@pytest.mark.parametrize(
    ("text", "what"),
    [("structure\tmean\n2\t1\n", "column"), ("structure\tmean\tsd\n", "no class"),
     ("structure\tmean\tsd\n9999\t1\t1\n", "line 2"), ("class\tmean\tsd\n3\t1\t1\n99\t1\t1\n", "line 3"),
     ("structure\tmean\tsd\n2\tbright\t1\n", "bright"), ("structure\tmean\tsd\n2\t-1\t1\n", "-1")],
)  # fmt: skip
def test_a_table_with_a_mistake_is_refused_with_its_place(tmp_path, text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        read_class_priors(table(tmp_path, text))


def test_a_missing_file_and_an_unknown_ending(tmp_path) -> None:
    with pytest.raises(InputError, match="nothing.tsv"):
        read_class_priors(tmp_path / "nothing.tsv")
    with pytest.raises(InputError, match="t1.txt"):
        read_class_priors(table(tmp_path, "", "t1.txt"))


def arrays(folder, count: int) -> None:
    values = np.arange(count, dtype=float)
    np.save(folder / "prior_means_t1.npy", np.stack([100 + values, values / 10]))
    np.save(folder / "prior_stds_t1.npy", np.stack([5 + values, values / 20]))


def test_arrays_of_our_classes(tmp_path) -> None:
    arrays(tmp_path, COUNT)
    means, stds = read_class_priors(tmp_path / "prior_means_t1.npy")
    assert means[7] == (107, 0.7) and stds[7] == (12, 0.35) and len(means) == COUNT


def test_arrays_of_other_classes_need_to_know_them(tmp_path) -> None:
    arrays(tmp_path, 3)
    with pytest.raises(InputError, match="generation_labels.npy"):
        read_class_priors(tmp_path / "prior_means_t1.npy")
    np.save(tmp_path / "generation_labels.npy", [0, 2, 41, 3, 42])
    np.save(tmp_path / "generation_classes_contrast_specific.npy", [0, 1, 1, 2, 2])
    means, _ = read_class_priors(tmp_path / "prior_means_t1.npy")
    assert means[class_of(2)] == means[class_of(41)] == (101, 0.1)
    assert means[class_of(42)] == (102, 0.2) and means[class_of(10)] is None


def test_synthseg_s_own_t1_arrays_without_their_classes_are_refused() -> None:
    with pytest.raises(InputError, match="25 classes"):
        read_class_priors(shared("data/label_maps/prior_means_t1.npy"))


def test_the_contrast_is_the_table_s(tmp_path) -> None:
    path = table(tmp_path, "structure\tmean\tsd\n2\t200\t0\n41\t50\t0\n")
    priors = SynthesizeOptions(preset="synthseg-rc", class_priors=path).priors()
    drawn = synthesize(Volume(boxes(side=12), np.eye(4)), priors, seed=1).record["contrast"]
    m = small_map()
    at = {value: i for i, value in enumerate(m.values)}
    assert (drawn["means"][at[2]], drawn["means"][at[41]], drawn["stds"][at[2]]) == (200, 50, 0)
    assert drawn["contrast"] == "given" and drawn["means"][at[507]] not in (0, 200, 50)
