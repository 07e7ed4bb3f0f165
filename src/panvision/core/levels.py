"""Levels of the detection head: what training, the settings and the check of the boxes share."""

# Pixels per cell of the usual levels P3 to P5.
STRIDES = (8, 16, 32)
# Centre sampling, in strides.
CENTER_RADIUS = 1.5
# The finest level takes objects that reach at most this share of the image's side from their point, each coarser
# level twice as far. At the system's own 256 px these are FCOS's bounds, 64 px for P3 and 128 px for P4.
FINEST_REACH = 0.25


def level_reach(image_size: int, levels: int) -> list[tuple[float, float]]:
    """Return the smallest and largest distance in pixels to an object's farthest edge that each level answers for."""
    bounds = [FINEST_REACH * image_size * 2**level for level in range(levels - 1)]
    return list(zip([0.0, *bounds], [*bounds, float("inf")], strict=True))
