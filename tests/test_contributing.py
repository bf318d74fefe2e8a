"""The how-tos of CONTRIBUTING.md, followed to the letter on a copy of the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import napari_synthseg

PACKAGE = Path(napari_synthseg.__file__).parent
GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"
BLOCKS = {
    match[1]: match[2] for match in re.finditer(r"```python\n# (\S+\.py)\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
}


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the package with the files of the guide, in its own folder."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "resources", "napari.yaml")
    shutil.copytree(PACKAGE, folder / "napari_synthseg", ignore=ignored)
    for name in ("resources", "napari.yaml"):
        (folder / "napari_synthseg" / name).symlink_to((PACKAGE / name).resolve())
    for path, text in BLOCKS.items():
        assert not (folder / path).exists()
        (folder / path).write_text(text)
    return folder


def told(folder: Path, *words: str) -> str:
    """What a fresh interpreter in the copy prints."""
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guide_has_a_file_for_each_thing_to_add():
    assert [Path(path).parent.name for path in BLOCKS] == ["steps", "networks", "formats"]


def test_a_prior_is_one_file(extended):
    code = (
        "from napari_synthseg.generator.presets import preset, describe_preset\n"
        "model = preset('synthseg').with_values(ghost_strength=(0.5, 0.5))\n"
        "print([f.name for g in model.groups() if g.title == 'Ghosting' for f in g.fields])\n"
        "print('ghost_strength=0,0' in describe_preset('synthseg'))\n"
    )
    assert told(extended, "-c", code).split() == ["['ghost_strength']", "True"]


def test_a_network_is_one_file_beside_its_recipe(extended):
    code = (
        "import torch\n"
        "from napari_synthseg.networks import registry\n"
        "card = {'network': 'plain', 'labels': [0, 2, 41], 'name': 'mine'}\n"
        "print(registry.segments(card), tuple(registry.build(card)(torch.zeros(1, 1, 4, 5, 6)).shape))\n"
    )
    assert told(extended, "-c", code).strip() == "True (1, 3, 4, 5, 6)"


def test_a_format_is_one_file(extended, tmp_path):
    code = (
        "import numpy as np, pathlib, sys\n"
        "from napari_synthseg.io import read_volume, write_volume\n"
        "from napari_synthseg.volume import Volume\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "write_volume(path / 'a.raw1', Volume(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)))\n"
        "(path / 'a.raw1').rename(path / 'without_ending')\n"
        "print(read_volume(path / 'without_ending').data.sum())\n"
    )
    assert float(told(extended, "-c", code, str(tmp_path))) == 1770
