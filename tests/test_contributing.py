"""The how-tos of CONTRIBUTING.md, followed to the letter on a copy of the package."""

from __future__ import annotations

import json
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


PRIOR = """
import json, sys
import numpy as np
from napari_synthseg.generator.head import full_grid
from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.model import Record
from napari_synthseg.generator.presets import describe_preset, differences, load_priors, preset, write_priors
from napari_synthseg.generator.sample import apply

label_map = prepare(np.kron(np.array([2, 41, 3, 42]).reshape(2, 2, 1), np.ones((16, 16, 24), int)))
plain, model = preset("synthseg"), preset("synthseg").with_values(ghost_strength=(0.4, 0.6))
write_priors(sys.argv[1], "synthseg", model)
drawn, without = model.sample(label_map, 3), plain.sample(label_map, 3).without("ghosting")
steps = list(drawn.steps)
with_, bare = (apply(one, label_map, full_grid(label_map)).image for one in (drawn, without))
print(json.dumps({
    "form": [f.name for g in model.groups() if g.title == "Ghosting" for f in g.fields] == ["ghost_strength"],
    "presets": "ghost_strength=0,0" in describe_preset("synthseg"),
    "command line": differences(model, plain) == ["ghost_strength=0.4,0.6"],
    "file": load_priors(sys.argv[1]) == model,
    "record": Record.from_dict(json.loads(json.dumps(drawn.to_dict()))) == drawn,
    "drawn": 0.4 <= drawn["ghosting"]["strength"] <= 0.6,
    "own stream": drawn.without("ghosting").steps == without.steps,
    "place": steps.index("gamma") < steps.index("ghosting") < steps.index("acquisition"),
    "image": bool(with_.std() != bare.std()),
}))
"""


def test_a_prior_is_one_file(extended, tmp_path):
    assert set(json.loads(told(extended, "-c", PRIOR, str(tmp_path / "my.json"))).values()) == {True}


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
        "from napari_synthseg.io import formats\n"
        "print('.raw1' in formats.readable(), '.raw1' in formats.scan_endings(), formats.stem('x/a.b.raw1'))\n"
        "print('RAW1 (*.raw1)' in formats.dialog_filter(), '*.raw1' in formats.dialog_filter('Label maps'))\n"
    )
    assert told(extended, "-c", code, str(tmp_path)).split() == ["1770.0", "True", "True", "a.b", "True", "True"]
