"""Sphinx builds these pages: `make docs`, where a warning is an error."""

from __future__ import annotations

from sphinx.application import Sphinx

from counterflow import __version__

project = "Counterflow"
author = copyright = "The Counterflow authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
html_theme = "furo"
html_title = f"Counterflow {release}"
exclude_patterns = ["api/modules.rst"]

# Pages are Markdown that GitHub can show too: formulas between dollars, links to headings.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# The reference is made of the package's docstrings.
apidoc_modules = [
    {
        "path": "../src/counterflow",
        "destination": "api",
        "exclude_patterns": [
            f"../src/counterflow/{room}"
            for room in ("__main__.py", "app/*", "cli/*", "plugins/*", "toybox/train/*")
        ],
        "max_depth": 1,
        "automodule_options": {"members", "show-inheritance", "ignore-module-all"},
    }
]
# A name in an annotation is looked for by its last word, which a field may have, too (`bytes`).
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"
autodoc_default_options = {"ignore-module-all": True}  # what a room shows of another is told there
default_role = "code"
add_module_names = False
toc_object_entries = False


def as_code(
    app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]
) -> None:
    """An indented block of a docstring is code, as in Markdown; reStructuredText wants a `::`."""
    before, made = "", []
    for line in lines:
        if line.startswith("    ") and before and not before.startswith("    "):
            made += ["::", ""] if made[-1] == "" and not before.endswith("::") else []
        made.append(line)
        before = line if line.strip() else before
    lines[:] = made


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_code)
