import numpy as np
import pytest

from panvision.dataset.packed import open_packed
from panvision.report.distributions import class_balance, histograms
from panvision.report.inputs import DataMetrics
from tests.report.run import METRICS, SPLITS
from tests.tiny import picture


def test_class_balance_is_relative_to_the_largest_class() -> None:
    small = {"train": 1, "val": 0, "test": 0}
    values = METRICS["data"] | {"detection": METRICS["data"]["detection"] | {"classes": {"lid": small, "pan": SPLITS}}}
    shares = class_balance(DataMetrics(**values))
    found = {(share.dataset, share.name): (share.images, share.fraction) for share in shares}
    assert found["detection", "lid"] == (1, pytest.approx(1 / 7)) and found["detection", "pan"] == (7, 1.0)
    assert found["segmentation", "pan"] == (7, 1.0)


def test_histograms_of_boxes_by_class(run) -> None:
    run.add("detection", [(picture(128, 96), [(0, 0, 64, 48, 1), (0, 0, 128, 96, 1), (0, 0, 64, 96, 0)])])
    _, boxes = histograms([open_packed(run.prepared / "detection", "detection")])
    assert [(line.name, line.note) for line in boxes.lines] == [("lid", "(1)"), ("stirrer", "(2)")]
    # Both boxes of the stirrer: half of the side, and all of it.
    peaks = np.array([each.split(" ") for each in boxes.lines[1].path[1:].split("L")], float)
    top = peaks[peaks[:, 1] == peaks[:, 1].min()]
    middle = (boxes.left + boxes.right) / 2
    assert top[:, 0].min() == pytest.approx(middle, abs=1.0) and top[:, 0].max() == boxes.right


def test_histograms_without_images_or_boxes(run) -> None:
    assert histograms([]) == []
    (images,) = histograms([open_packed(run.prepared / "segmentation", "segmentation")])
    assert images.title == "Image sizes" and images.lines[0].note == "(3)"
