"""The HTML report, and which volumes it calls unusual."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_synthseg.batch import report
from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.report import Entry, entry


def cohort(count: int, **changed: float) -> dict[str, dict[str, float]]:
    """Volumes of heads of many sizes; the last one's are multiplied."""
    rng = np.random.default_rng(4)
    rows = {}
    for n in range(count):
        size = rng.normal(1, 0.1)
        spread = rng.normal(1, 0.05, 2)
        rows[f"/{n}"] = {"Brain": 1.2e6 * size, "Hippo": 4000 * size * spread[0], "Ventricle": 9000 * size * spread[1]}
    for name, factor in changed.items():
        rows[f"/{count - 1}"][name] *= factor
    return rows


def totals(rows) -> dict[str, float | None]:
    return {scan: 1.1 * row["Brain"] for scan, row in rows.items()}


def test_a_shrunken_structure_is_found_and_a_small_head_is_not():
    rows = cohort(30, Hippo=0.5)
    rows["/3"] = {name: 0.75 * mm3 for name, mm3 in rows["/3"].items()}
    found = report.find_outliers(rows, totals(rows))
    assert list(found) == ["/29"]
    assert found["/29"][0].name == "Hippo" and found["/29"][0].z < -report.LIMIT


def test_a_missing_structure_and_an_impossible_head_are_found():
    rows = cohort(30, Ventricle=0)
    rows["/2"] = {name: 3 * mm3 for name, mm3 in rows["/2"].items()}
    found = report.find_outliers(rows, totals(rows))
    assert found["/29"][0].name == "Ventricle" and math.isinf(found["/29"][0].z)
    assert found["/2"][0].name == report.INTRACRANIAL and set(found) == {"/2", "/29"}


def test_modified_z_is_that_of_the_reference():
    volumes = np.exp(np.arange(11.0))
    expected = 0.6745 * (np.arange(11) - 5) / 3  # Iglewicz and Hoaglin: 0.6745 (x - median) / MAD
    np.testing.assert_allclose(report.modified_z(volumes, np.ones(11)), expected, rtol=1e-3)


def test_too_few_scans_and_equal_ones_have_no_outliers():
    rows = cohort(report.FEWEST - 1, Hippo=0.1)
    assert report.find_outliers(rows, totals(rows)) == {}
    same = {f"/{n}": {"Hippo": 4000 * (1 + 1e-4 * n)} for n in range(20)}
    assert report.find_outliers(same, dict.fromkeys(same, None)) == {}


class Reader(HTMLParser):
    """Attributes of all tags, and how deep they are nested."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def entries(tmp_path) -> list[Entry]:
    ones = []
    for name, status, verdict, mean in (
        ("fine", "ok", "good", 0.85),
        ("poor", "ok", "likely failed", 0.41),
        ("doubt", "skipped", "doubtful", 0.7),
        ("odd", "ok", "good", 0.84),
    ):
        output = tmp_path / "sub #1" / f"{name}_dseg.nii.gz"
        output.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(output.with_name(f"{name}_dseg.jpg"))
        ones.append(Entry(f"/in/{name}.nii.gz", str(output), status, "", 3.0, 1, verdict, mean, 1.4e6))
    hostile = "<script>alert('x')</script> & more"
    return [*ones, Entry(f"/in/{hostile}.nii", str(tmp_path / "x_dseg.nii.gz"), "failed", hostile, attempts=2)]


def test_the_page_is_worst_first_and_fetches_nothing(entries, tmp_path):
    unusual = {"/in/odd.nii.gz": [report.Outlier("Left-Hippocampus", -5.2, 1234.0)]}
    text = report.page(entries, unusual, {"Options": "none"}, tmp_path, most_pictures=3)
    names = re.findall(r'<td class="scan" data-key="([^"]*)"', text)
    assert [Path(name).name.partition(".")[0] for name in names[1:]] == ["poor", "doubt", "odd", "fine"]
    assert "alert(" not in text.replace("alert(&#39;x&#39;)", "") and "&lt;script&gt;" in names[0]
    reader = Reader()
    reader.feed(text)
    pictures = [one["src"] for one in reader.all("img")]
    assert [src.startswith("data:image/jpeg;base64,") for src in pictures] == [True, True, False, False]
    assert pictures[-1] == "sub%20%231/fine_dseg.jpg"  # beyond the limit they are linked
    assert not re.search(r"https?://", text) and not reader.all("link")
    assert all("src" not in one for one in reader.all("script"))
    assert "Left-Hippocampus <small>-5.2, 1.2 mL" in text and "2 attempts" in text and "■ likely failed" in text
    assert len(reader.all("tr")) == 1 + len(entries)


@pytest.mark.parametrize(
    ("verdict", "calibrated", "text"),
    [
        ("likely failed", True, "likely failed, expected mean Dice 0.70"),  # by weights that fail below 0.72
        ("doubtful", True, "doubtful, expected mean Dice 0.70"),
        ("not calibrated", False, "quality 0.70, not calibrated"),
    ],
)
def test_the_summary_of_a_scan_has_the_verdict_of_its_weights(tmp_path, verdict, calibrated, text):
    record = {"expected_dice": {"verdict": verdict, "mean": 0.7, "calibrated": calibrated}}
    made = entry(Task(0, tmp_path / "x.nii.gz", tmp_path / "x_dseg.nii.gz"), "ok", record)
    assert made.summary == text
    assert entry(Task(0, tmp_path / "x.nii.gz", tmp_path / "x_dseg.nii.gz"), "ok", {}).summary == ""
