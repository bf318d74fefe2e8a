"""The comparison of two promptable models: means, differences, and how sure they are."""

from __future__ import annotations

import json

import pytest

from napari_synthseg import cli
from napari_synthseg.errors import InputError
from tests.test_benchmarks import script

SETTINGS = [(1, 0, "points"), (1, 2, "points"), (3, 0, "points"), (3, 2, "points"), (0, 0, "box")]


@pytest.fixture(scope="module")
def prompts():
    return script("prompts")


def rows(scores, dataset="A", modality="CT", masks=1):
    """All settings of `masks` masks of images with these scores."""
    return [
        {
            "modality": modality,
            "dataset": dataset,
            "image": f"{number}.png",
            "mask": f"{number}_{mask}.png",
            "n_pos": n_pos,
            "n_neg": n_neg,
            "prompt": prompt,
            "dsc": score,
        }
        for number, score in enumerate(scores)
        for mask in range(masks)
        for n_pos, n_neg, prompt in SETTINGS
    ]


def test_a_constant_difference_is_sure(prompts):
    scores = [0.1, 0.5, 0.9, 0.3]
    found = prompts.compare(rows([s + 0.05 for s in scores]), rows(scores))["CT"]
    assert list(found) == ["(1,0)", "(1,2)", "(3,0)", "(3,2)", "box", "mean of points", "mean of all"]
    assert all(figures == pytest.approx((0.5, 0.45, 0.05, 0.05)) for figures in found.values())


def test_a_difference_that_depends_on_the_image_is_not(prompts):
    first, second, low, high = prompts.compare(rows([0.9, 0.1] * 10), rows([0.5] * 20))["CT"]["(1,0)"]
    assert (first, second) == pytest.approx((0.5, 0.5))
    assert -0.25 < low < -0.1 and 0.1 < high < 0.25  # 1.96 * 0.4 / sqrt(20) = 0.175


def test_masks_of_one_image_are_drawn_together(prompts):
    def width(masks):
        _, _, low, high = prompts.compare(rows([0.9, 0.1] * 5, masks=masks), rows([0.5] * 10, masks=masks))["CT"]["box"]
        return high - low

    assert width(4) == pytest.approx(width(1))


def test_datasets_count_the_same(prompts):
    ours = rows([0.4] * 9) + rows([0.8], "B")
    theirs = rows([0.4] * 9) + rows([0.6], "B")
    assert prompts.compare(ours, theirs)["CT"]["box"] == pytest.approx((0.6, 0.5, 0.1, 0.1))


def test_rows_of_other_masks_are_refused(prompts):
    with pytest.raises(InputError, match="not measured on the same"):
        prompts.compare(rows([0.4]), rows([0.4, 0.5]))


def test_rows_measured_earlier_make_a_table(prompts, tmp_path, monkeypatch, capsys):
    for name, score in (("ours", 0.7), ("theirs", 0.6)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows([score]) + rows([score], modality="US")))
    words = ["prompts", "manifest.csv", str(tmp_path / "ours.json"), str(tmp_path / "theirs.json")]
    monkeypatch.setattr("sys.argv", words)
    assert prompts.main() == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| modality | prompts | ours | theirs | difference | 95 % |"
    assert lines[2] == "| CT | (1,0) | 0.700 | 0.600 | +0.100 | +0.100 to +0.100 |"
    assert len(lines) == 2 + 2 * 7


def test_a_manifest_that_is_not_there_is_a_sentence(prompts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["prompts", str(tmp_path / "none.csv"), "default", "mobilesam"])
    assert prompts.main() == cli.BAD_INPUT
    assert "none.csv" in capsys.readouterr().err


def test_ablations_train_and_measure_only_what_is_not_there(tmp_path, monkeypatch, capsys):
    ablations = script("ablations")
    tmp_path.joinpath("all.json").write_text(json.dumps(rows([0.5])))
    monkeypatch.setattr("sys.argv", ["ablations.py", "none.csv", str(tmp_path), "--only", "all"])
    assert ablations.main() == cli.DONE
    assert "| all | 0.500 |" in capsys.readouterr().out
