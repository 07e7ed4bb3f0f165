"""The commands of README.md and docs/, to be run as printed."""

import re

from tests.pipeline.scratch import ROOT


def block(*words: str) -> str:
    """The one indented block of all pages that has all these words, without its comments."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    blocks = re.findall(r"^```(\S*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (found,) = (block for kind, block in blocks if kind == "" and all(word in block for word in words))
    return re.sub(r" +#.*$", "", found, flags=re.MULTILINE)
