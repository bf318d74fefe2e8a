"""Names of labels from the files of other programs."""

from __future__ import annotations

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.io import LabelName
from napari_synthseg.io.labels import read_label_names

FORMS = {
    "plain.txt": "# MMWHS\n0 background\n500 left ventricle\n205, myocardium\n",
    "freesurfer.txt": "#No. Name R G B A\n0 Unknown 0 0 0 0\n500 left-ventricle 10 20 30 0\n205 myocardium 1 2 3 0\n",
    "snap.label": '# ITK-SNAP\n0 0 0 0 0 0 0 "Clear Label"\n500 10 20 30 1 1 1 "left ventricle"\n'
    '205 1 2 3 0.5 1 1 "myocardium"\n',
    "bids.tsv": "index\tname\tcolor\n500\tleft ventricle\t#0a141e\n205\tmyocardium\t#010203\n",
    "a.json": '{"500": "left ventricle", "205": "myocardium"}',
    "dataset.json": '{"name": "x", "labels": {"background": 0, "left ventricle": 500, "myocardium": 205}}',
    "decathlon.json": '{"labels": {"0": "background", "500": "left ventricle", "205": "myocardium"}}',
}


@pytest.mark.parametrize("name", FORMS)
def test_names_are_read(name, tmp_path) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name])
    found = read_label_names(path)
    assert {v: n.name.replace("-", " ") for v, n in found.items()} == {205: "myocardium", 500: "left ventricle"}
    colored = name in ("freesurfer.txt", "snap.label", "bids.tsv")
    assert found[500].color == ((10, 20, 30) if colored else None)
    assert isinstance(found[205], LabelName)


@pytest.mark.parametrize("text, words", [("hello\n", "names no label"), ("", "names no label")])
def test_files_without_names_are_refused(text, words, tmp_path) -> None:
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_label_names(path)


@pytest.mark.parametrize("text", ["[1, 2]", "{broken"])
def test_broken_json_is_one_sentence(text, tmp_path) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(InputError, match="names.json"):
        read_label_names(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_label_names(tmp_path / "missing.txt")
