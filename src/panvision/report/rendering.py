"""Templates filled: everything is escaped, and a name that is not there is an error."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

STYLE = "page.css"
MACROS = "data.macros.jinja"


def render(template: str, context: Mapping[str, object]) -> str:
    """A template of this folder as HTML; it also gets `style`, the style sheet, and `parts`, the shared macros."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = (folder / STYLE).read_text(encoding="utf-8")
    parts = environment.get_template(MACROS).module
    return environment.get_template(template).render(context, style=style, parts=parts)
