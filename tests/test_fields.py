"""Parameters declared once: what is derived from annotated fields."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import pytest

from napari_synthseg import fields as fields_module
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import GroupOptions
from napari_synthseg.fields import (
    Field,
    Folder,
    Info,
    PositiveInt,
    Probability,
    Range,
    check,
    command_text,
    fields_of,
    from_json,
    python_text,
    to_json,
)
from napari_synthseg.generator.files import SynthesizeShapesOptions
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.prompting.options import PromptOptions, PropagateOptions
from napari_synthseg.training.runs import RECIPES


def field_of(options: type, name: str) -> Field:
    return {f.name: f for f in fields_of(options)}[name]


@dataclass(frozen=True)
class Example:
    """Options of no job."""

    out: Folder
    """Where to write; it says 5-7 mm, which means nothing."""
    spacing: Annotated[Range, Info(unit="mm", symbol="b_res", equation="eq. 20", low=1, high=12)] = (1.0, 9.0)
    """Slice spacing."""
    chance: Annotated[Probability, Info(label="How often")] = 0.5
    """Probability of it."""
    threads: PositiveInt | None = None
    """CPU threads."""
    grid: Literal["input", "1mm"] = "input"
    """Where labels lie."""
    flip: bool = True
    """Average with the mirrored scan."""
    names: tuple[str, ...] = ()
    """Some names."""

    def __post_init__(self) -> None:
        check(self)


def test_prose_decides_nothing():
    out = field_of(Example, "out")
    assert (out.info.low, out.unit, out.info.path, out.required) == (None, "", "folder", True)


def test_rewording_the_docstrings_of_our_options_changes_nothing(monkeypatch):
    options = [entry.options for entry in RECIPES.values()]
    options += [SegmentOptions, PropagateOptions, PromptOptions, BatchOptions, GroupOptions, SynthesizeShapesOptions]
    before = [[replace(f, doc="") for f in fields_of(one)] for one in options]
    monkeypatch.setattr(
        fields_module, "field_docs", lambda options: {f.name: "A folder, 3-5 mm." for f in fields(options)}
    )
    after = [[replace(f, doc="") for f in fields_module._fields_of.__wrapped__(one)] for one in options]
    assert after == before


def test_large_limits_keep_their_digits():
    with pytest.raises(InputError, match=r"The option label must lie between 1 and 2147483647, not 3000000000\."):
        PromptOptions(inside=((1.0, 2.0, 3.0),), label=3_000_000_000)


def test_open_limits_are_excluded():
    @dataclass(frozen=True)
    class Share:
        part: Annotated[float, Info(above=0, below=1)] = 0.5

    assert field_of(Share, "part").limits == "above 0, below 1"
    with pytest.raises(InputError, match=r"The option part must be above 0, below 1, not 1\."):
        check(Share(1.0))


def test_annotations_are_merged_and_the_outer_ones_win():
    chance = field_of(Example, "chance")
    assert (chance.label, chance.info.low, chance.info.high) == ("How often", 0, 1)
    assert (field_of(Example, "threads").optional, field_of(Example, "threads").info.low) == (True, 1)


def test_help_gives_symbol_limits_unit_and_source():
    assert field_of(Example, "spacing").help == "Slice spacing. [b_res, 1 to 12 mm, eq. 20]"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"spacing": (0.5, 2.0)}, "The option spacing must lie between 1 and 12 mm, not 0.5."),
        (
            {"spacing": (3.0, 2.0)},
            "The option spacing is a range: give a lower bound and an upper bound at least as large.",
        ),
        ({"spacing": (1.0, float("nan"))}, "The option spacing must be finite, not nan."),
        ({"chance": 1.5}, "The option chance must lie between 0 and 1, not 1.5."),
        ({"threads": 0}, "The option threads must be at least 1, not 0."),
        ({"threads": "two"}, "The option threads must be a number, not 'two'."),
        ({"grid": "2mm"}, "The option grid cannot be '2mm': choose input or 1mm."),
    ],
)
def test_a_value_that_is_not_allowed_gets_one_sentence(values, sentence):
    with pytest.raises(InputError) as error:
        Example(Path("a"), **values)
    assert str(error.value) == sentence


def test_json_brings_the_same_options_back(tmp_path):
    options = Example(tmp_path, spacing=(2.0, 3.0), threads=4, names=("a", "b"))
    assert from_json(Example, to_json(options)) == options
    assert to_json(Example(Path("here")))["out"] == str(Path("here").absolute())


def test_json_of_another_version_is_refused():
    with pytest.raises(InputError, match="no option 'speed'"):
        from_json(Example, {"out": "a", "speed": 1})


def test_options_as_python_and_as_arguments():
    options = Example(Path("a b"), spacing=(2.0, 3.5), flip=False, threads=2)
    assert python_text(options) == "Example(out='a b', spacing=(2.0, 3.5), threads=2, flip=False)"
    assert command_text(options) == "--out 'a b' --spacing 2 3.5 --threads 2 --no-flip"
    assert command_text(options, leave_out=("out",)).startswith("--spacing")
