"""The form of the labels that a dataset's folder has already: one folder can only have one."""

from pathlib import Path

from panvision.core.tasks import Dataset
from panvision.dataset.paths import relative
from panvision.prepare.formats.documents import scan_part
from panvision.prepare.formats.flat import read_flat
from panvision.prepare.formats.labelme import LABELME
from panvision.prepare.formats.layout import find_parts
from panvision.prepare.formats.readers import FORMATS

# Forms of labels that are not annotation files. The first is the name of a folder.
MASKS, CLASS_FOLDERS = "masks", "class folders"


def label_forms(task: Dataset, root: Path, images: str) -> dict[str, str]:
    """Return the forms of the labels in a dataset's folder, and for each a file or folder that has it.

    Forms are the names of `FORMATS`, `MASKS`, `CLASS_FOLDERS`, and descriptions of layouts that no writer has.

    Args:
        task: the dataset.
        root: its folder, which may be missing.
        images: the folder in it that is to hold its images.
    """
    (part, *_), _ = find_parts(root)
    scan = scan_part(part, root, {suffix for one in FORMATS for suffix in one.suffixes})
    if part.split or (scan.images and part.images != root / images):
        return {"another layout": relative(part.images, root)}
    if task == "segmentation":
        if part.masks is not None:
            return {MASKS if part.masks == root / MASKS else "other masks": relative(part.masks, root)}
        stems = {path.stem: path for path in scan.images}
        if beside := [stem for stem in stems if f"{stem}_mask" in stems]:
            return {"other masks": relative(stems[f"{beside[0]}_mask"], root)}
    found = {one.name: documents for one in FORMATS if (documents := one.find(scan))}
    if task != "classification":
        # As the readers: a file that cannot be parsed has a form only if there is no other.
        parsed = {name: files for name, files in found.items() if not all(file.fault for file in files)}
        return {name: files[0].file for name, files in (parsed or found).items()}
    table = LABELME.name not in found and read_flat(part, root)
    own = {image: LABELME.name for document in found.get(LABELME.name, ()) for image in scan.own_images(document)}
    flat = dict.fromkeys(scan.images, "a table") if table else own
    forms = {path: flat.get(path, "") if path.parent == part.images else CLASS_FOLDERS for path in scan.images}
    # An image among the class folders is not sorted yet.
    return {form: relative(path, root) for path, form in forms.items() if form}
