"""Classification as a folder per class; the format has no confidence."""

from panvision.labelling.forms import CLASS_FOLDERS
from panvision.labelling.writers.writer import Writer

WRITER = Writer(("classification",), CLASS_FOLDERS)
