"""Sphinx configuration of the documentation: ``make docs``."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx

from dask_aesthetic import __version__

HERE = Path(__file__).parent

project = "dask-aesthetic"
author = "the dask-aesthetic authors"
copyright = f"2026, {author}"  # noqa: A001
version = release = __version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = True

# Markdown, and the notebooks as they were executed.
myst_heading_anchors = 4
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence"]
# Sphinx reads pages below this folder alone.
shutil.copytree(
    HERE.parent / "notebooks",
    HERE / "generated" / "notebooks",
    ignore=shutil.ignore_patterns("*.py"),
    dirs_exist_ok=True,
)

# Docstrings
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's Parameters have the types.
autodoc_member_order = "bysource"
default_role = "py:obj"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
# A name in single backticks becomes a link where it is public; names of parameters do not exist as objects.
nitpick_ignore_regex = [("py:obj", ".*")]

copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "dask-aesthetic"
html_sidebars = {name: [] for name in ("index", "quickstart", "migration", "benchmarks")}  # They have no section.
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_show_sourcelink = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Connect what the options of the command need."""
    app.connect(
        "sphinx-click-process-options", lambda _, __, lines: lines.__setitem__(slice(None), map(no_mail, lines))
    )


def no_mail(line: str) -> str:
    """Line in which a Hugging Face id@revision is no mail address."""
    return line.replace("id@", "id\\@")
