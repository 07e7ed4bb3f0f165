"""Settings of the site that Sphinx makes of this folder: `make docs`."""

import os
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
# Document this checkout, not an installed version.
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent / "src")]
# Width of the command line's help on the pages.
os.environ["COLUMNS"] = "80"

project = "panvision"
version = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
author = "the panvision authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "panvision_docs"]
exclude_patterns = ["_ext", "_static"]

# The pages read well on a code host, too, so they need little beyond CommonMark.
myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 3
highlight_language = "text"

# Single backticks in docstrings are code, as on the pages.
default_role = "code"

html_theme = "furo"
pygments_style = "tango"  # in furo's own, lines that go and lines that come look alike
html_title = f"panvision {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Names of other projects: their inventories would have to be fetched from the network.
nitpick_ignore_regex = [
    (r"py:.*", r"(numpy|npt|np|torch|PIL|Image|pathlib|pydantic|typing|collections|os)(\..*)?"),
    (r"py:.*", r"panvision\.(.*Settings|inference\.api\._Detection)"),
    (r"py:.*", r"(Path|Any|Self|Literal|Mapping|Sequence|Callable|Annotated|optional|.* or .*|TypeError|ValueError)"),
]
