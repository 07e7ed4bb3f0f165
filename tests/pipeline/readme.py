"""The README's commands, to be run as they stand there."""

import re

from tests.pipeline.scratch import ROOT


def block(*words: str) -> str:
    """The one indented block of the README that has all these words, without its comments."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if all(word in block for word in words))
    return re.sub(r" +#.*$", "", found, flags=re.MULTILINE)
