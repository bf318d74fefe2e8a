"""Sphinx: the pages of this folder, and what `generate.py` makes of docstrings and cards. `make docs` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generate import generate

import napari_synthseg

project = "napari-synthseg"
author = "The napari-synthseg developers"
copyright = author
version = release = napari_synthseg.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["results", "_build"]
html_theme = "furo"
html_title = "napari-synthseg"
html_theme_options = {"source_view_link": ""}
html_show_sourcelink = False
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
toc_object_entries = False  # hundreds of them in every page: minutes of building
default_role = "code"  # docstrings write names between single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # napoleon takes the words before a colon in a docstring of a field for a type

generate(Path(__file__).parent / "generated")
