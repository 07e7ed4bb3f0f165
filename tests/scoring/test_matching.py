import numpy as np
import pytest

from panvision.scoring.matching import AREA_RANGES, MAX_DETECTIONS, match_boxes
from panvision.scoring.ranking import average_precision
from tests.scoring.coco import coco_average_precision, ranked_classes

ALL, SMALL = (list(AREA_RANGES).index(name) for name in ("all", "small"))


def match(truth, found, scores):
    labels = [np.zeros(len(each), int) for each in (truth, found)]
    matching = match_boxes(truth, labels[0], found, labels[1], scores)
    drawn = [((np.array(truth, float), labels[0]), (np.array(found, float), labels[1], np.array(scores)))]
    ours = average_precision(ranked_classes(drawn)[0], np.ones((1, 1), np.int32))[..., 0]
    np.testing.assert_allclose(ours, coco_average_precision(drawn)[0], atol=1e-9)
    return matching


@pytest.mark.parametrize(("order", "hits"), [((0, 1), [True, True]), ((1, 0), [True, False])])
def test_match_boxes_takes_the_last_of_equal_overlaps(order, hits):
    truth = [([0, 0, 10, 10], [4, 0, 14, 10])[number] for number in order]
    # The first is half way between them, the second overlaps the left one only.
    found = match(truth, [[2, 0, 12, 10], [-1, 0, 9, 10]], [0.9, 0.8])
    assert found.hits[ALL, 0].tolist() == hits


def test_match_boxes_prefers_a_true_box_that_counts():
    found = match([[0, 0, 34, 34], [0, 0, 31, 31]], [[0, 0, 33, 33]], [0.9])
    assert found.match.tolist() == [0]
    assert found.hits[SMALL, 0].tolist() == [True] and not found.ignored[SMALL, 0].any()
    assert found.iou.tolist() == [pytest.approx(33**2 / 34**2)]


def test_match_boxes_ignores_matches_of_ignored_boxes():
    found = match([[0, 0, 34, 34]], [[0, 0, 31, 31], [60, 0, 91, 31]], [0.9, 0.8])
    assert found.ignored[SMALL, 0].tolist() == [True, False]  # the other is a false positive
    assert found.match.tolist() == [0, -1]


def test_match_boxes_counts_a_hundred_of_a_class():
    true, many = [[0, 0, 10, 10]], MAX_DETECTIONS + 1
    boxes = [[50, 0, 60, 10]] * MAX_DETECTIONS + true
    found = match(true, boxes, np.linspace(1, 0.5, many))
    assert found.ignored[ALL, 0].tolist() == [False] * MAX_DETECTIONS + [True]
    assert not found.hits.any() and found.match[-1] == -1


def test_match_boxes_matches_within_a_class():
    found = match_boxes([[0, 0, 10, 10]], [1], [[0, 0, 10, 10]], [0], [0.5])
    assert not found.hits.any() and not found.ignored[ALL].any() and found.iou.tolist() == [0.0]
    assert match_boxes([], [], [], [], []).hits.shape == (4, 10, 0)


def test_match_boxes_ignores_boxes_on_a_crowd_of_their_class():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [20, 0, 30, 10], [52, 0, 62, 10], [20, 0, 30, 10]]
    crowd = {"crowds": [[0, 0, 60, 40]], "crowd_labels": [0]}
    found = match_boxes([[0, 0, 10, 10]], [0], boxes, [0, 0, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5], **crowd)
    # A true box comes first; a crowd takes any number; 8 of 10 columns are enough up to 0.8; class 1 has no crowd.
    assert found.hits[ALL, 0].tolist() == [True, False, False, False, False]
    assert found.ignored[ALL, 0].tolist() == [False, True, True, True, False]
    assert found.ignored[ALL, :, 3].tolist() == [True] * 7 + [False] * 3
    assert found.match.tolist() == [0, -1, -1, -1, -1] and found.iou.tolist() == [1, 0, 0, 0, 0]
    assert np.asarray(found.true_labels).tolist() == [0]
