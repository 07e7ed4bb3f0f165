"""Ground floor beside params: the figures by which a model is known, wherever a few stand for all."""

# Task, which names its metrics file; key in it; the figure's name.
FIGURES = (
    ("segmentation", "miou", "mIoU"),
    ("segmentation", "dice", "Dice"),
    ("detection", "map50", "mAP@0.5"),
    ("detection", "map50_95", "mAP@[.5:.95]"),
    ("classification", "accuracy", "accuracy"),
    ("classification", "balanced_accuracy", "balanced accuracy"),
)
