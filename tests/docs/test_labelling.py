"""docs/labelling.md names the commands of a round and every format; `test_commands.py` runs the commands."""

import re

from panvision.labelling.writers import WRITERS
from tests.docs.test_commands import PAGES, unmarked

PAGE = PAGES["docs/labelling.md"]


def test_the_page_has_commands_and_every_format():
    assert {line.split()[1] for line in unmarked(PAGE)} == {"predict", "select", "prelabel", "watch"}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == set(WRITERS)
