from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.inference.predictor import Predictor
from panvision.labelling.answers import Panel
from panvision.labelling.diversity import NEAR, choose
from panvision.labelling.features import VISUAL, VectorFile, describe_image, feature_vector
from tests.tiny import BOX_NAMES, LIMITED, ColourBackend, picture

ENDS = st.none() | st.integers(-25, 25)


def vectors(*places):
    """Vectors (N, VISUAL + 2) at these distances along two axes."""
    found = np.zeros((len(places), VISUAL + 2), np.float16)
    found[:, :2] = np.reshape(places, (-1, 2))
    return found


def test_near_duplicates_count_once():
    picks = choose(np.array([0.5, 0.9, 0.8, 0.7]), vectors((0, 0), (0.01, 0), (0.02, 0), (3, 0)), 4)
    assert [(pick.row, pick.similar) for pick in picks] == [(1, 2), (3, 0)]


def test_doubt_decides_and_then_distance():
    places = vectors((0, 0), (NEAR + 0.1, 0), (2, 0), (0, 2))
    assert [pick.row for pick in choose(np.array([0.9, 0.85, 0.6, 0.6]), places, 3)] == [0, 2, 3]
    assert choose(np.zeros(4), places, 1)[0].row == 0


def test_images_like_labelled_ones_rank_lower():
    places, doubt = vectors((0, 0), (2, 0), (0, 2)), np.array([0.9, 0.6, 0.6])
    assert choose(doubt, places, 1)[0].row == 0
    found = choose(doubt, places, 3, vectors((0, 0.1)))
    assert [pick.row for pick in found] == [1, 2, 0] and found[-1].distance < 0.2


def test_labelled_images_are_not_chosen_again():
    places = vectors((0, 0), (2, 0), (0.05, 0))
    assert [pick.row for pick in choose(np.ones(3), places, 3, places[:1])] == [1, 2]


def test_no_images_give_no_choice():
    assert choose(np.zeros(0), vectors(), 5) == []


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 9))
def test_choices_are_different_and_repeatable(count, images, seed):
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 4, (images, 2)) * (NEAR + 0.1)
    doubt = rng.random(images)
    picks = choose(doubt, vectors(*places), count)
    chosen = {tuple(places[pick.row]) for pick in picks}
    assert len(chosen) == len(picks) == min(count, len({tuple(place) for place in places}))
    assert picks == choose(doubt, vectors(*places), count)
    if count >= images:
        assert sum(pick.similar + 1 for pick in picks) == images


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=4), st.builds(slice, ENDS, ENDS))
def test_vectors_in_a_file_are_those_of_an_array(counts, rows):
    whole, file = np.arange(3 * sum(counts), dtype=np.float16).reshape(-1, 3), VectorFile()
    for part in np.split(whole, np.cumsum(counts)[:-1]) if counts else ():
        file.append(part)
    assert len(file) == len(whole) and np.array_equal(file[rows].ravel(), whole[rows].ravel())


def test_the_same_look_is_near_and_others_are_not():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    noisy = np.clip(one.astype(int) + rng.integers(-6, 7, one.shape), 0, 255).astype(np.uint8)
    other = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    first, copy, stranger = (describe_image(each).astype(float) for each in (one, noisy, other))
    assert np.linalg.norm(first - copy) < NEAR < np.linalg.norm(first - stranger)


def test_vectors_of_a_model_have_one_length():
    images = [picture(), picture(box=(8, 8, 40, 40)), picture(30, 90)]
    answered = Panel([Predictor(ColourBackend())]).answer(images)
    found = [feature_vector(image, answers, BOX_NAMES) for image, answers in zip(images, answered, strict=True)]
    assert {each.shape for each in found} == {(VISUAL + 16 + len(BOX_NAMES) + 3,)} and found[0].dtype == np.float16
    assert not np.array_equal(found[0][VISUAL:], found[1][VISUAL:])


def test_the_features_of_a_model_belong_to_the_vector():
    images = [picture(), picture(30, 90)]
    answered = Panel([Predictor(ColourBackend(LIMITED))], flip=True).answer(images)
    for image, answers in zip(images, answered, strict=True):
        found = feature_vector(image, answers, BOX_NAMES)
        assert found.shape == (VISUAL + 3 + 16 + len(BOX_NAMES) + 3,)
        assert np.array_equal(found[:VISUAL], describe_image(image))
        np.testing.assert_allclose(found[VISUAL : VISUAL + 3], answers[0].features / np.sqrt(3), rtol=1e-3)
    huge = replace(answered[0][0], features=np.full(3, 1e38, np.float32))
    assert np.isfinite(feature_vector(images[0], [huge], BOX_NAMES)).all()
