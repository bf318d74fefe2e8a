"""The house: floors, what an import loads, what the wheel and an editable install carry, and napari's manifest."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

import napari_synthseg
from napari_synthseg.io.formats import readable

PACKAGE = "napari_synthseg"
SOURCE = Path(napari_synthseg.__file__).parent
CHECKOUT = Path(__file__).parents[1]

FLOORS = {
    "errors": 1,
    "fields": 1,
    "devices": 1,
    "jobs": 1,
    "anatomy": 1,
    "resampling": 1,
    "atomic_io": 1,
    "volume": 1,
    "networks": 1,
    "generator": 2,
    "evaluation": 2,
    "weights": 2,
    "io": 2,
    "inference": 3,
    "prompting": 3,
    "training": 3,
    "batch": 4,
    "widgets": 4,
    "cli": 5,
}
GUI = {"napari", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "superqt", "pyqtgraph", "vispy"}


def module_name(path: Path) -> str:
    """The dotted name of a source file; a package's ``__init__.py`` has the name of the package."""
    parts = [PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def room(module: str) -> str:
    """The top-level part of the package a module belongs to; ``""`` for the package itself."""
    return (module.split(".") + [""])[1]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@cache
def imports_of(path: Path, module: str) -> set[str]:
    """Every module a file imports, inside functions too; names imported from a package count as its modules.

    What stands under ``if TYPE_CHECKING`` is not imported when the program runs and does not count.
    """
    known = modules()
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if is_type_checking(node):
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                found.add(inside if inside in known else base)
    return found - {module}


def own_imports() -> dict[str, set[str]]:
    known = modules()
    return {name: {found for found in imports_of(path, name) if found in known} for name, path in known.items()}


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle of imports, or an empty list."""
    finished: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in finished:
            return []
        for other in sorted(graph[name]):
            if circle := walk(other, [*path, name]):
                return circle
        finished.add(name)
        return []

    return next((circle for name in sorted(graph) if (circle := walk(name, []))), [])


def run_python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=environment.get("PYTHONPATH", CHECKOUT),  # `-c` puts the working folder first on the path
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Floors


def test_every_room_has_a_floor():
    rooms = {room(name) for name in modules()} - {""}
    assert rooms <= set(FLOORS), "give the new room a floor here and in CONTRIBUTING.md"


def test_no_import_runs_upward():
    upward = [
        f"{name} imports {other}"
        for name, others in own_imports().items()
        if name != PACKAGE  # the package's face fetches its public jobs lazily, from any floor
        for other in others
        if other != PACKAGE and FLOORS[room(other)] > FLOORS[room(name)]
    ]
    assert upward == []


def test_no_circles():
    graph = {name: others - {PACKAGE} for name, others in own_imports().items() if name != PACKAGE}
    assert find_circle(graph) == []


def test_a_circle_is_found():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_house_is_at_most_six_floors_deep():
    """Of rooms: a folder is one, and so are all single files on the ground floor together."""

    def of(module: str) -> str:
        return room(module) if (SOURCE / room(module)).is_dir() else "ground"

    above: dict[str, set[str]] = {}
    for name, others in own_imports().items():
        if name != PACKAGE:
            above.setdefault(of(name), set()).update({of(o) for o in others - {PACKAGE}} - {of(name)})
    assert find_circle(above) == []

    def deepest(start: str) -> list[str]:
        return [start, *max((deepest(one) for one in above[start]), key=len, default=[])]

    longest = max((deepest(start) for start in above), key=len)
    assert len(longest) <= 6, " -> ".join(longest)


def test_no_room_is_a_sliver_or_a_hall():
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    apart = {"napari_synthseg.cli.__main__", "napari_synthseg.errors"}
    rooms = {name: n for name, n in sizes.items() if modules()[name].name != "__init__.py" and name not in apart}
    assert {name: n for name, n in rooms.items() if not 40 <= n <= 400} == {}


def test_no_public_class_name_stands_for_two_things():
    parsed = [ast.parse(path.read_text(encoding="utf-8")) for path in modules().values()]
    names = [one.name for tree in parsed for one in tree.body if isinstance(one, ast.ClassDef)]
    assert {name for name in names if names.count(name) > 1 and not name.startswith("_")} == set()


def test_the_house_grows_no_larger():
    """Upper bounds that only ever fall; the design asks for 200 files and 38,000 lines."""
    texts = [path.read_text(encoding="utf-8") for path in modules().values()]
    assert len(texts) <= 244
    assert sum(text.count("\n") for text in texts) <= 46_790


def test_only_widgets_import_qt_or_napari():
    outside = [
        f"{name} imports {other}"
        for name, path in modules().items()
        if room(name) != "widgets"
        for other in imports_of(path, name)
        if other.split(".")[0] in GUI
    ]
    assert outside == []


def test_no_function_hears_that_qt_deleted_something():
    """The garbage collector may have emptied it by then, and calling it ends the process; a method is just left out."""
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("destroyed.connect"):
                assert isinstance(node.args[0], ast.Attribute), f"{module}:{node.lineno}"


# What an import loads


@pytest.mark.parametrize("module", ["napari_synthseg", "napari_synthseg.cli", "napari_synthseg.anatomy"])
def test_import_is_cheap(module):
    loaded = run_python(f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})").split()
    assert set(loaded).isdisjoint({"torch", *GUI})


def test_the_core_needs_no_gui():
    core = [name for name in modules() if room(name) != "widgets"]
    blocker = (
        "import importlib, sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {GUI!r}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        f"for name in {core!r}: importlib.import_module(name)\n"
    )
    run_python(blocker)


# What is installed


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory) -> Path:
    """A folder with the contents of a freshly built wheel, as pip would install them."""
    pytest.importorskip("hatchling")
    if not (CHECKOUT / "pyproject.toml").exists():
        pytest.skip("the tests do not run from a checkout")
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_carries_manifest_and_resources(unpacked_wheel):
    wanted = {"napari.yaml"} | {
        f"resources/{path.relative_to(CHECKOUT / 'resources').as_posix()}"
        for path in (CHECKOUT / "resources").rglob("*")
        if path.is_file() and path.name != ".DS_Store"
    }
    inside = {
        p.relative_to(unpacked_wheel / PACKAGE).as_posix()
        for p in unpacked_wheel.rglob("*")
        if p.is_file() and PACKAGE in p.parts
    }
    assert wanted <= inside


def test_wheel_carries_nothing_else(unpacked_wheel):
    tops = {path.name for path in unpacked_wheel.iterdir()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {PACKAGE}


def test_installed_package_finds_its_resources(unpacked_wheel):
    code = "from napari_synthseg import anatomy; print(anatomy.resources()); print(len(anatomy.table()))"
    where, count = run_python(code, PYTHONPATH=str(unpacked_wheel)).splitlines()
    assert Path(where).resolve() == (unpacked_wheel / PACKAGE / "resources").resolve()
    assert int(count) > 33


def test_napari_finds_the_installed_manifest(unpacked_wheel):
    pytest.importorskip("npe2")
    code = "from npe2 import PluginManifest as M; print(M.from_distribution('napari-synthseg').display_name)"
    assert run_python(code, PYTHONPATH=str(unpacked_wheel)) == "SynthSeg"


def test_editable_install_uses_the_checkout():
    try:
        distribution = metadata.distribution("napari-synthseg")
    except metadata.PackageNotFoundError:
        pytest.skip("napari-synthseg is not installed here")
    if "editable" not in (distribution.read_text("direct_url.json") or ""):
        pytest.skip("not an editable install")
    pytest.importorskip("npe2")
    code = (
        "from npe2 import PluginManifest as M; from napari_synthseg import anatomy\n"
        "M.from_distribution('napari-synthseg'); print(anatomy.resources().resolve())"
    )
    assert Path(run_python(code)) == CHECKOUT / "resources"


# napari's manifest


@pytest.fixture
def manifest():
    npe2 = pytest.importorskip("npe2")
    return npe2.PluginManifest.from_file(CHECKOUT / "napari.yaml")


def test_manifest_points_at_things_that_exist(manifest):
    pytest.importorskip("napari")
    manifest.validate_imports()


def test_manifest_is_complete(manifest):
    parts = manifest.contributions
    names = [widget.display_name for widget in parts.widgets]
    assert names == ["Segment brain", "Preview synthesis", "Prompt", "Train", "Evaluate"]
    assert {sample.key for sample in parts.sample_data} == {"mni152", "synthetic_head", "label_map"}
    assert "napari/layers/segment" in parts.menus
    settings = {name: set(group.properties) for name, group in parts.configurations.items()}
    assert settings == {
        "computing": {"device", "threads"},
        "files": {"cache", "weights"},
        "display": {"convention"},
    }


def test_every_format_we_read_is_in_the_manifest(manifest):
    patterns = {pattern for reader in manifest.contributions.readers for pattern in reader.filename_patterns}
    assert {f"*{ending}" for ending in readable()} <= patterns


def test_command_names_leave_room_for_napari(manifest):
    # napari registers "plugin.key" for every sample: a command of that name would collide.
    taken = {f"{manifest.name}.{sample.key}" for sample in manifest.contributions.sample_data}
    assert taken.isdisjoint(command.id for command in manifest.contributions.commands)


def test_icon_is_there(manifest):
    package, _, name = manifest.icon.partition(":")
    assert package == f"{PACKAGE}.resources"
    assert (CHECKOUT / "resources" / name).read_text().lstrip().startswith("<svg")


def test_version_is_the_same_everywhere():
    citation = (CHECKOUT / "CITATION.cff").read_text()
    assert f"\nversion: {napari_synthseg.__version__}\n" in citation
