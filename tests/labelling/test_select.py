import tracemalloc
import weakref

import numpy as np
import pytest

from panvision.inference.predictor import Predictor
from panvision.labelling.answers import Panel
from panvision.labelling.prelabel import Photo
from panvision.labelling.select import COLUMNS, Scan, rank, scan
from panvision.labelling.uncertainty import Doubt
from tests.tiny import ColourBackend

FRAMES = 2000


@pytest.fixture
def panel():
    return Panel([Predictor(ColourBackend())])


class Pixels(np.ndarray):
    """An image that can be counted while it lives."""


class Alive:
    """Makes frames one at a time, and counts those that are alive."""

    def __init__(self, count):
        self.count, self.now, self.most = count, 0, 0

    def gone(self):
        self.now -= 1

    def __iter__(self):
        rng = np.random.default_rng(0)
        for number in range(self.count):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).view(Pixels)
            self.now += 1
            self.most = max(self.most, self.now)
            weakref.finalize(pixels, self.gone)
            yield Photo(f"{number:05}.jpg", b"", pixels)
            del pixels


@pytest.mark.slow
def test_memory_holds_a_batch_of_images_and_no_vectors(panel):
    tracemalloc.start()
    frames = Alive(FRAMES)
    found = scan(frames, panel, batch_size=8)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.names) == len(found.vectors) == FRAMES and frames.most <= 2 * 8 + 1
    assert held < found.vectors[:].nbytes


def test_the_ranking_is_the_same_every_time(panel):
    names = [[row.name for row in rank(scan(Alive(60), panel, batch_size=size), 10)] for size in (8, 7)]
    assert names[0] == names[1] and len(set(names[0])) == 10


def test_labelled_images_are_left_out(panel):
    found = scan(Alive(30), panel)
    first = rank(found, 1)[0].name
    labelled = scan((photo for photo in Alive(30) if photo.file == first), panel)
    assert first not in {row.name for row in rank(found, 30, labelled)}


def test_no_frames_give_no_rows(panel):
    assert rank(scan([], panel), 5) == []


def test_a_row_says_what_is_more_than_usual(panel):
    row = rank(scan(Alive(30), panel), 1)[0]
    row.usual = {"segmentation": 0.4, "classification": 0.1}
    row.doubts = {"segmentation": Doubt(0.41, "as ever"), "classification": Doubt(0.8, "raw 52% or golden 48%")}
    assert row.reason == "raw 52% or golden 48%"
    row.doubts = {"segmentation": Doubt(0.3, "as ever")}
    assert row.reason == "unlike the others"
    cells = dict(zip(COLUMNS, row.cells(), strict=True))
    assert cells["rank"] == 1 and cells["segmentation"] == 0.3 and cells["detection"] is None


def test_what_all_images_have_is_no_doubt():
    values = np.full((8, 4), np.nan, np.float16)
    values[:, 0], values[:, 2] = 0.5, np.arange(8) / 8
    found = Scan([str(number) for number in range(8)], values, np.zeros((8, 3), np.float16))
    assert found.usual() == {"segmentation": 0.5, "classification": pytest.approx(0.21875)}
    doubt = found.doubt()
    assert doubt[:2].tolist() == [0.0, 0.0] and doubt[7] == pytest.approx((0.875 - 0.21875) / (1 - 0.21875))
