"""EXIF orientation of masks and boxes that were drawn on the unturned file.

Orientation values 1 to 8 as in Exif 2.32, tag 0x0112; the turns agree with `PIL.ImageOps.exif_transpose`.
"""

import numpy as np
import numpy.typing as npt

MaskArray = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float64]


def turn_mask(mask: MaskArray, orientation: int) -> MaskArray:
    """Turn an (H, W) mask as a viewer turns the image: (W, H) for the orientations 5 to 8."""
    turned = {
        2: lambda: mask[:, ::-1],
        3: lambda: mask[::-1, ::-1],
        4: lambda: mask[::-1],
        5: lambda: mask.T,
        6: lambda: np.rot90(mask, -1),
        7: lambda: mask[::-1, ::-1].T,
        8: lambda: np.rot90(mask),
    }.get(orientation, lambda: mask)()
    return np.ascontiguousarray(turned)


def turn_boxes(boxes: Boxes, orientation: int, *, width: float, height: float) -> Boxes:
    """Turn (M, 4) boxes x1, y1, x2, y2 drawn on an unturned image of `width` × `height`."""
    left, top, right, bottom = boxes.T
    from_right, from_bottom = (width - right, width - left), (height - bottom, height - top)
    edges = {
        2: (from_right[0], top, from_right[1], bottom),
        3: (from_right[0], from_bottom[0], from_right[1], from_bottom[1]),
        4: (left, from_bottom[0], right, from_bottom[1]),
        5: (top, left, bottom, right),
        6: (from_bottom[0], left, from_bottom[1], right),
        7: (from_bottom[0], from_right[0], from_bottom[1], from_right[1]),
        8: (top, from_right[0], bottom, from_right[1]),
    }.get(orientation, (left, top, right, bottom))
    return np.stack(edges, axis=1)
