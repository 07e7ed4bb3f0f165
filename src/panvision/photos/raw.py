"""Raw images and masks of a packed dataset at their own size, for evaluation and report."""

from pathlib import Path

from panvision.dataset.packed import PackedError, PackedSet
from panvision.photos.masks import MaskSizeError, load_mask
from panvision.photos.orientation import MaskArray
from panvision.photos.pixels import RgbArray, read_image


def read_raw_image(packed: PackedSet, row: int, folder: Path, *, max_pixels: int) -> RgbArray:
    """Read a raw image, (H, W, 3) uint8.

    Args:
        packed: the packed dataset.
        row: the image's row.
        folder: `<data.root>/<task>`.
        max_pixels: larger images are refused.

    Raises:
        ImageError: it cannot be read.
        PackedError: its size has changed since it was packed.
    """
    path = folder / packed.files[row]
    image = read_image(path, max_pixels=max_pixels)
    width, height = (int(side) for side in packed.sizes[row])
    if image.shape[:2] != (height, width):
        raise PackedError(
            f"{path}: {image.shape[1]}x{image.shape[0]} pixels, but {width}x{height} when it was prepared; "
            f"run `python stages/prepare.py {packed.task}` again"
        )
    return image


def read_raw_mask(packed: PackedSet, row: int, folder: Path) -> MaskArray:
    """Read the true mask of a segmentation image, (H, W) uint8, 1 is pan.

    Args:
        packed: the segmentation dataset.
        row: the image's row.
        folder: `<data.root>/segmentation`.

    Raises:
        ImageError: it cannot be read.
        PackedError: the dataset has no masks, or the mask no longer fits its image.
    """
    remedy = "run `python stages/prepare.py segmentation` again"
    if packed.mask_files is None or packed.drawn_files is None:
        raise PackedError(f"{packed.folder}: has no masks; {remedy}")
    try:
        if packed.drawn_files[row]:
            return load_mask(packed.folder, packed.drawn_files[row])
        return load_mask(folder, packed.mask_files[row], packed.files[row])
    except MaskSizeError as error:
        raise PackedError(f"{folder / packed.mask_files[row]}: {error}; {remedy}") from error
