"""Planted faults are found, and normal variation is not reported."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.dataset.packed import PackedError, PackedSet
from panvision.validate.checks import suspicions
from panvision.validate.checks.suspicions import describe_colours, suspicious_boxes, suspicious_states

WIDTH, HEIGHT = 320, 240


def packed_set(task, images, **fields):
    count = len(images)
    fields = {
        "files": [f"images/{row:05}.jpg" for row in range(count)],
        "sizes": np.tile(np.array([[WIDTH, HEIGHT]], np.int32), (count, 1)),
        **fields,
    }
    looks = np.zeros((count, 64, 64), np.uint8)
    return PackedSet(task=task, folder=Path("prepared"), images=images, looks=looks, **fields)


def detection(boxes, labels=None, classes=("pan", "lid"), **fields):
    """Images with the given boxes (x1, y1, x2, y2 in pixels); of class 0 if no labels are given."""
    boxes = [np.array(own, np.float32).reshape(-1, 4) for own in boxes]
    labels = [np.zeros(len(own), np.int64) for own in boxes] if labels is None else [np.array(own) for own in labels]
    images = np.zeros((len(boxes), 32, 32, 3), np.uint8)
    return packed_set("detection", images, boxes=boxes, labels=labels, classes=list(classes), **fields)


def around(centres, sides):
    """Boxes from centres and sides, (M, 4)."""
    return np.hstack([centres - sides / 2, centres + sides / 2])


def usual(count=60, seed=0, centre=(160, 120), sides=(100, 80)):
    """One box an image, always nearly the same."""
    rng = np.random.default_rng(seed)
    return around(rng.normal(centre, 6, (count, 2)), rng.normal(sides, 5, (count, 2)))


def one_each(boxes):
    return [[box] for box in boxes]


def resized(box, factor):
    return around((box[None, :2] + box[None, 2:]) / 2, (box[None, 2:] - box[None, :2]) * factor)[0]


@pytest.mark.parametrize("seed", range(5))
def test_boxes_of_one_kind_are_left_alone(seed):
    assert suspicious_boxes(detection(one_each(usual(seed=seed)))) == []


@pytest.mark.parametrize("factor", [3.0, 1 / 3, 0.5])
def test_a_box_of_another_size_is_found(factor):
    boxes = usual()
    boxes[7] = resized(boxes[7], factor)
    (found,) = suspicious_boxes(detection(one_each(boxes)))
    assert (found.code, found.file) == ("box_unusual_size", "detection/images/00007.jpg")
    left, top, right, bottom = (round(float(edge), 1) for edge in np.float32(boxes[7]))
    assert f"has a pan box ({left:.10g}, {top:.10g}, {right:.10g}, {bottom:.10g})" in found.reason
    assert f"{boxes[7][2] - boxes[7][0]:.0f} × {boxes[7][3] - boxes[7][1]:.0f} px; most pan boxes are 9" in found.reason


def test_a_box_in_another_proportion_is_found():
    """Wide boxes and high ones are usual, a square one is not: each of its sides is."""
    boxes = np.vstack([usual(count=40, sides=(200, 40)), usual(count=40, sides=(40, 200))])
    boxes[3] = around(np.array([[160.0, 120.0]]), np.array([[190.0, 190.0]]))[0]
    (found,) = suspicious_boxes(detection(one_each(boxes)))
    assert (found.code, found.file) == ("box_unusual_size", "detection/images/00003.jpg")
    assert found.reason.endswith("in another proportion")


def test_a_box_at_another_place_is_found():
    boxes = usual()
    boxes[7] += [90, -60, 90, -60]
    (found,) = suspicious_boxes(detection(one_each(boxes)))
    assert (found.code, found.file) == ("box_unusual_place", "detection/images/00007.jpg")
    x, y = (boxes[7][:2] + boxes[7][2:]) / 2 / [WIDTH, HEIGHT]
    assert f"its centre {x:.0%} across and {y:.0%} down" in found.reason


def test_the_worst_comes_first():
    boxes = usual()
    boxes[7] = resized(boxes[7], 0.5)
    boxes[9] = resized(boxes[9], 0.1)
    found = suspicious_boxes(detection(one_each(boxes)))
    assert [one.file for one in found] == ["detection/images/00009.jpg", "detection/images/00007.jpg"]


def test_faults_in_one_box_of_twenty_are_found():
    boxes = usual(count=200)
    wrong = range(0, 200, 20)
    for row in wrong:
        boxes[row] = resized(boxes[row], 3.0 if row % 40 else 1 / 3)
    found = suspicious_boxes(detection(one_each(boxes)))
    assert {one.file for one in found} == {f"detection/images/{row:05}.jpg" for row in wrong}


def test_a_fault_that_was_copied_with_its_photo_is_found():
    """Three augmented copies of one wrong box among few boxes do not make it usual."""
    boxes = usual(count=33)
    boxes[:3] = resized(boxes[0], 3.0)
    found = suspicious_boxes(detection(one_each(boxes)))
    assert [one.file for one in found] == [
        "detection/images/00000.jpg",
        "detection/images/00001.jpg",
        "detection/images/00002.jpg",
    ]


def test_a_fixed_camera_makes_no_alarms():
    """All boxes are the same but for one pixel: no spread, and a small move is not a fault."""
    boxes = np.tile([[100.0, 80.0, 200.0, 160.0]], (50, 1))
    boxes[4] += [1, 0, 1, 0]
    boxes[5] = [100, 80, 215, 170]
    assert suspicious_boxes(detection(one_each(boxes))) == []
    boxes[6] += [100, 0, 100, 0]
    assert [found.file for found in suspicious_boxes(detection(one_each(boxes)))] == ["detection/images/00006.jpg"]


@pytest.mark.parametrize("seed", range(3))
def test_class_found_anywhere_makes_few_alarms(seed):
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(10), np.log(100), (300, 2)))
    boxes = around(rng.uniform(sides / 2, [WIDTH, HEIGHT] - sides / 2), sides)
    assert len(suspicious_boxes(detection(one_each(boxes)))) <= 3


def test_two_cameras_make_two_usual_sizes_and_places():
    near = usual(count=90, sides=(140, 120), centre=(200, 120))
    far = usual(count=15, sides=(40, 30), centre=(60, 60), seed=1)
    boxes = np.vstack([near, far])
    assert suspicious_boxes(detection(one_each(boxes))) == []
    boxes[0] = around(np.array([[200.0, 120.0]]), np.array([[40.0, 30.0]]))[0]
    (found,) = suspicious_boxes(detection(one_each(boxes)))
    assert (found.code, found.file) == ("box_unusual_place", "detection/images/00000.jpg")


def test_each_class_is_compared_with_itself():
    pans, lids = usual(), usual(sides=(30, 24), centre=(60, 60), seed=1)
    pairs = list(zip(pans, lids, strict=True))
    packed = detection(pairs, [[0, 1]] * len(pairs))
    assert suspicious_boxes(packed) == []
    swapped = replace(packed, labels=[np.array([1, 0]) if row == 5 else own for row, own in enumerate(packed.labels)])
    assert Counter(found.file for found in suspicious_boxes(swapped)) == {"detection/images/00005.jpg": 2}


def test_a_class_of_few_boxes_has_no_usual_size():
    boxes = usual(count=9)
    boxes[3] = resized(boxes[3], 0.1)
    assert suspicious_boxes(detection(one_each(boxes))) == []
    assert len(suspicious_boxes(detection(one_each(np.vstack([boxes, usual(count=1, seed=3)]))))) == 1


def test_boxes_are_compared_as_shares_of_their_pictures():
    boxes = usual(count=40)
    scale = np.tile([1.0, 4.0], 20)
    sizes = (np.array([[WIDTH, HEIGHT]]) * scale[:, None]).astype(np.int32)
    assert suspicious_boxes(detection(one_each(boxes * scale[:, None]), sizes=sizes)) == []
    found = suspicious_boxes(detection(one_each(boxes * np.roll(scale, 1)[:, None] / 2), sizes=sizes))
    assert {one.code for one in found} <= {"box_unusual_size", "box_unusual_place"}


def test_large_classes_are_compared_with_a_sample(monkeypatch):
    boxes = usual(count=301)
    boxes[7], boxes[8] = resized(boxes[7], 3), resized(boxes[8], 1 / 3)
    every = suspicious_boxes(detection(one_each(boxes)))
    assert {one.file for one in every} == {"detection/images/00007.jpg", "detection/images/00008.jpg"}
    monkeypatch.setattr(suspicions, "_BLOCK_ELEMENTS", 1000)
    assert suspicious_boxes(detection(one_each(boxes))) == every
    monkeypatch.setattr(suspicions, "_MOST_COMPARED", 40)
    assert sorted(suspicious_boxes(detection(one_each(boxes)))) == sorted(every)


@pytest.mark.parametrize(
    ("second", "labels", "text"),
    [
        ((102, 79, 201, 161), (0, 0), "two boxes of one class at one place, IoU 0.95: pan box (100, 80, 200, 160)"),
        ((100, 80, 200, 160), (0, 1), "and lid box (100, 80, 200, 160)"),
        ((100, 80, 200, 145), (0, 0), "IoU 0.81"),
        ((100, 80, 200, 145), (0, 1), ""),  # a lid may cover most of its pan
        ((100, 80, 200, 140), (0, 0), ""),
        ((210, 80, 310, 160), (0, 0), ""),
    ],
)
def test_boxes_on_one_another(second, labels, text):
    packed = detection([[], [(100, 80, 200, 160), second]], [[], labels])
    found = suspicious_boxes(packed)
    assert [one.code for one in found] == ["boxes_duplicated"] * bool(text)
    assert all(one.file == "detection/images/00001.jpg" and text in one.reason for one in found)


def test_a_box_drawn_three_times_is_two_too_many():
    assert len(suspicious_boxes(detection([[(100, 80, 200, 160)] * 3]))) == 2


def test_datasets_without_the_checked_labels_are_refused():
    empty = np.zeros((0, 32, 32, 3), np.uint8)
    with pytest.raises(PackedError, match="has no boxes"):
        suspicious_boxes(packed_set("classification", empty, classes=["raw"], states=np.zeros(0, np.int64)))
    with pytest.raises(PackedError, match="has no class labels"):
        suspicious_states(detection([]), np.zeros((0, 343), np.float32), [])
    assert suspicious_boxes(detection([])) == []


numbers = st.floats(0, 1000, width=32)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, st.integers(0, 1)), min_size=0, max_size=40))
@settings(max_examples=50, deadline=None)
def test_no_boxes_crash_it(lines):
    boxes = [[(x, y, x + width, y + height)] for x, y, width, height, _ in lines]
    packed = detection(boxes, [[line[4]] for line in lines])
    assert {found.code for found in suspicious_boxes(packed)} <= {"box_unusual_size", "box_unusual_place"}


COLOURS = np.array([[200, 60, 60], [200, 160, 60], [60, 30, 20]])
CLASSES = ["raw", "golden", "burnt"]


def kitchen(count=20, seed=0, noise=30):
    """`count` pictures of each class, its colour in the middle of a grey image, each in a separate group."""
    rng = np.random.default_rng(seed)
    states = np.repeat(np.arange(len(COLOURS)), count)
    images = np.full((len(states), 32, 32, 3), 128.0)
    images[:, 8:24, 8:24] = (COLOURS[states] + rng.normal(0, noise / 3, (len(states), 3)))[:, None, None]
    images += rng.normal(0, noise / 3, images.shape)
    images = np.clip(images, 0, 255).astype(np.uint8)
    return packed_set("classification", images, classes=CLASSES, states=states)


def names(packed):
    return [f"group {row}" for row in range(len(packed))]


def relabelled(packed, labels):
    states = packed.states.copy()
    states[list(labels)] = list(labels.values())
    return replace(packed, states=states)


def judged(packed, groups=None):
    return suspicious_states(packed, describe_colours(packed.images), groups or names(packed))


@pytest.mark.parametrize("seed", range(3))
def test_states_that_agree_with_their_neighbours_are_left_alone(seed):
    assert judged(kitchen(seed=seed)) == []


def test_switched_labels_are_found():
    packed = relabelled(kitchen(), {3: 1, 25: 2, 50: 0})
    found = judged(packed)
    assert sorted(one.file for one in found) == [
        "classification/images/00003.jpg",
        "classification/images/00025.jpg",
        "classification/images/00050.jpg",
    ]
    assert {one.code for one in found} == {"neighbours_disagree"}
    first = next(one for one in found if one.file == "classification/images/00003.jpg")
    assert first.reason.startswith("labelled golden, but 5 of its 5 nearest neighbours are labelled raw, first class")


def test_those_most_like_their_neighbours_come_first():
    packed = kitchen()
    packed.images[3, 13:19, 13:19] = 128
    found = judged(relabelled(packed, {3: 1, 25: 2}))
    assert [one.file for one in found] == ["classification/images/00025.jpg", "classification/images/00003.jpg"]


def test_copies_neither_hide_a_wrong_label_nor_outvote_others():
    packed = kitchen()
    # Six copies of one picture, all labelled wrong: they are of one group and say nothing of each other.
    images = np.concatenate([packed.images, np.repeat(packed.images[:1], 6, axis=0)])
    files = [*packed.files, *(f"copy{number}" for number in range(6))]
    states = np.concatenate([packed.states, np.full(6, 2)])
    wrong = packed_set("classification", images, classes=CLASSES, states=states, files=files)
    groups = [*names(packed), *["copies"] * 6]
    assert {one.file for one in judged(wrong, groups)} == {f"classification/copy{number}" for number in range(6)}
    # In separate groups they confirm each other and contradict the image that they were made from.
    apart = judged(wrong, [*names(packed), *(f"copy {number}" for number in range(6))])
    assert "classification/images/00000.jpg" in {one.file for one in apart}
    assert not any(one.file.startswith("classification/copy") for one in apart)


def test_pictures_unlike_all_others_are_left_alone():
    packed = kitchen()
    packed.images[3] = 0
    packed.images[3, :, :, 2] = 255
    assert judged(relabelled(packed, {3: 1})) == []


@pytest.mark.parametrize("seed", range(3))
def test_classes_that_colours_do_not_tell_are_not_checked(seed):
    """Labels by chance, and few of one class: nearly all neighbours are of the other."""
    packed = kitchen(count=40)
    states = (np.random.default_rng(seed).random(len(packed)) < 0.1).astype(np.int64)
    assert judged(replace(packed, states=states)) == []


def test_class_of_one_group_is_not_checked():
    """All of a class is one burst: no image of the class is among the neighbours."""
    packed = kitchen()
    assert judged(packed, ["burst"] * 20 + names(packed)[20:]) == []


def test_fewer_other_groups_than_neighbours_say_nothing():
    """Four groups with a picture of each class, and a picture with a wrong label in a fifth."""
    packed = kitchen(count=5)
    chosen = [0, 5, 1, 6, 2, 7, 3, 8, 4]
    states = packed.states[chosen]
    states[-1] = 1
    few = packed_set("classification", packed.images[chosen], classes=CLASSES, states=states)
    assert judged(few, list("aabbccdde")) == []


def test_looks_and_groups_must_match():
    packed = kitchen(count=2)
    with pytest.raises(ValueError, match="6 images, but 6 descriptors and 1 groups"):
        suspicious_states(packed, describe_colours(packed.images), ["one"])


@pytest.mark.parametrize("side", [32, 64, 100, 224])
def test_looks_are_unit_vectors(side):
    images = np.random.default_rng(side).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    looks = describe_colours(images)
    assert looks.shape == (3, 343) and looks.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(looks, axis=1), 1.0, atol=1e-6)


def test_looks_do_not_depend_on_the_block(monkeypatch, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    looks = describe_colours(images)
    monkeypatch.setattr(suspicions, "_IMAGES_AT_ONCE", 2)
    np.testing.assert_array_equal(describe_colours(np.load(tmp_path / "images.npy", mmap_mode="r")), looks)
    assert describe_colours(images[:0]).shape == (0, 343)


def test_describe_colours_weights_the_middle():
    middle, corner, none = np.full((3, 64, 64, 3), 90, np.uint8)
    middle[24:40, 24:40] = corner[:16, :16] = (220, 120, 40)
    brighter = np.clip(middle.astype(int) + 3, 0, 255).astype(np.uint8)
    alike = describe_colours(np.stack([middle, corner, none, brighter]))
    alike = alike @ alike.T
    assert alike[1, 2] > 0.95
    assert alike[0, 2] < 0.9
    assert alike[0, 3] > 0.9
