import csv
import json

import numpy as np
import pytest
from PIL import Image

from panvision.evaluation.score import EvaluationError, evaluate
from panvision.evaluation.settings import EvaluationSettings
from panvision.files import write_json, write_rows
from panvision.inference.predictor import Predictor
from panvision.ingest.packed import TASKS, PackedError
from panvision.ingest.settings import DataSettings
from panvision.pixels import ImageError, resize_rgb
from tests.tiny import BOX_NAMES, SIZE, STATE_NAMES, SUBSETS, ColourBackend, PartBackend, picture

WIDTH, HEIGHT = 128, 96
BOX = (16, 12, 48, 36)
CLASSES = {"segmentation": ["background", "pan"], "detection": list(BOX_NAMES), "classification": list(STATE_NAMES)}
EXTRA = {"segmentation": ("mask", "pan_fraction", "drawn"), "detection": ("boxes",), "classification": ("label",)}


class World:
    """A raw data folder and what `prepare` and `validate` make of it, written by hand."""

    def __init__(self, root) -> None:
        self.data = DataSettings(root=str(root / "raw"), image_size=SIZE)
        self.prepared, self.splits = root / "prepared", root / "splits.csv"
        self.raw = root / "raw"
        self.split_rows: list[tuple[str, str, str, str]] = []

    def add(self, task: str, samples, split: str = "test") -> None:
        """Samples are (pixels, label): a mask, a list of (x1, y1, x2, y2, label), or a state's name."""
        folder, raw = self.prepared / task, self.raw / task
        self.split_rows = [row for row in self.split_rows if row[0] != task]
        index, boxes = [], []
        for row, (pixels, label) in enumerate(samples):
            file = f"images/{row:02d}.png"
            (raw / "images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(raw / file)
            values = (label,)
            if task == "segmentation":
                values = (f"masks/{row:02d}.png", (label > 0).mean(), "")
                (raw / "masks").mkdir(exist_ok=True)
                Image.fromarray(label).save(raw / values[0])
            elif task == "detection":
                values = (len(label),)
                boxes += [(row, *box) for box in label]
            index.append((file, pixels.shape[1], pixels.shape[0], *values))
            self.split_rows.append((task, file, file, split))
        write_rows(folder / "index.csv", ("file", "width", "height", *EXTRA[task]), index)
        write_rows(folder / "boxes.csv", ("row", "x1", "y1", "x2", "y2", "label"), boxes)
        write_json(folder / "classes.json", {"classes": CLASSES[task]})
        packed = [resize_rgb(pixels, SIZE) for pixels, _ in samples]
        np.save(folder / "images.npy", np.array(packed, np.uint8).reshape(-1, SIZE, SIZE, 3))
        np.save(folder / "looks.npy", np.zeros((len(samples), 64, 64), np.uint8))
        if task == "segmentation":
            masks = [resize_rgb(np.repeat(label[:, :, None], 3, axis=2), SIZE)[:, :, 0] > 127 for _, label in samples]
            np.save(folder / "masks.npy", np.array(masks, np.uint8).reshape(-1, SIZE, SIZE))
        write_rows(self.splits, ("task", "file", "group", "split"), self.split_rows)

    def evaluate(self, backend=None, **settings):
        return evaluate(
            Predictor(backend or ColourBackend()),
            prepared=self.prepared,
            splits=self.splits,
            data=self.data,
            settings=EvaluationSettings(**settings),
        )


def right_half(share: float = 0.5) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, int(WIDTH * share) :] = 255
    return mask


@pytest.fixture
def world(tmp_path) -> World:
    """Pictures on which ColourBackend is right about everything."""
    world = World(tmp_path)
    world.add("segmentation", [(picture(WIDTH, HEIGHT), right_half())] * 3)
    world.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)]), (picture(WIDTH, HEIGHT), [])])
    world.add(
        "classification",
        [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "browned"), (picture(WIDTH, HEIGHT), "frozen")],
    )
    return world


def test_a_model_that_is_right_scores_one(world) -> None:
    found = world.evaluate()
    assert found.segmentation["images"] == 3
    assert found.segmentation["miou"] > 0.98  # the edge lies between two of the model's pixels
    assert found.detection == {"images": 2, "map50": 1.0, "map50_95": 1.0, "ap50": {"lid": None, "stirrer": 1.0}}
    assert found.classification == {
        "images": 2,
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "recall": {"browned": 1.0, "fresh": None, "frozen": 1.0},
    }


def test_masks_are_scored_at_their_own_size_over_the_whole_set(tmp_path, world) -> None:
    wide = np.concatenate([picture(WIDTH, HEIGHT)] * 2)
    tall_mask = np.concatenate([right_half()] * 2)
    tall_mask[:] = 255
    world.add("segmentation", [(picture(WIDTH, HEIGHT), right_half()), (wide, tall_mask)])
    found = world.evaluate().segmentation
    # Found: half of each. True: half of the first (H·W/2 pixels) and all of the second (2·H·W pixels).
    assert found["iou"]["pan"] == pytest.approx(1.5 / 2.5, abs=0.02)


def test_every_box_down_to_the_minimal_score_enters_map(world) -> None:
    faint = ColourBackend(box_logit=-4.0)  # a score of 0.13, below the model's own threshold
    assert world.evaluate(faint).detection["map50"] == 1.0
    assert world.evaluate(faint, min_score=0.2).detection["map50"] == 0.0


def test_boxes_are_compared_in_the_pictures_own_pixels(world) -> None:
    world.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*(side / 2 for side in BOX), 1)])])
    assert world.evaluate().detection["map50"] == 0.0


def test_plots_name_the_classes(world) -> None:
    world.add(
        "classification",
        [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "frozen"), (picture(WIDTH, HEIGHT), "frozen")],
    )
    found = world.evaluate()
    assert found.confusion == [("frozen", "browned"), ("frozen", "frozen")]
    assert found.classification["recall"] == {"browned": None, "fresh": None, "frozen": 0.5}
    assert found.precision_recall[0] == ("stirrer", 0.0, 1.0)
    assert len(found.precision_recall) == 101


def test_an_empty_split_is_null(world, tmp_path) -> None:
    world.split_rows = [(*row[:3], "train") for row in world.split_rows]
    write_rows(world.splits, ("task", "file", "group", "split"), world.split_rows)
    world.evaluate().write(tmp_path / "metrics", tmp_path / "plots")
    metrics = {task: json.loads((tmp_path / "metrics" / f"{task}.json").read_text()) for task in TASKS}
    assert metrics == {
        "segmentation": {"images": 0, "miou": None, "iou": {"background": None, "pan": None}, "dice": None},
        "detection": {"images": 0, "map50": None, "map50_95": None, "ap50": dict.fromkeys(BOX_NAMES)},
        "classification": {
            "images": 0,
            "accuracy": None,
            "balanced_accuracy": None,
            "recall": dict.fromkeys(STATE_NAMES),
        },
    }
    assert (tmp_path / "plots" / "confusion.csv").read_text() == "actual,predicted\n"
    assert (tmp_path / "plots" / "precision_recall.csv").read_text() == "class,recall,precision\n"


@pytest.mark.parametrize("tasks", SUBSETS)
def test_figures_of_tasks_that_the_model_has_not_are_null(world, tmp_path, tasks) -> None:
    whole, found = world.evaluate(), world.evaluate(PartBackend(*tasks))
    nothing = {
        "segmentation": {"images": None, "miou": None, "iou": {"background": None, "pan": None}, "dice": None},
        "detection": {"images": None, "map50": None, "map50_95": None, "ap50": dict.fromkeys(BOX_NAMES)},
        "classification": {
            "images": None,
            "accuracy": None,
            "balanced_accuracy": None,
            "recall": dict.fromkeys(STATE_NAMES),
        },
    }
    for task in TASKS:
        assert getattr(found, task) == (getattr(whole, task) if task in tasks else nothing[task])
    assert bool(found.precision_recall) == ("detection" in tasks)
    assert bool(found.confusion) == ("classification" in tasks)
    found.write(tmp_path / "metrics", tmp_path / "plots")
    assert len(list((tmp_path / "metrics").iterdir())) == 3 and len(list((tmp_path / "plots").iterdir())) == 2


def test_classes_of_tasks_that_the_model_has_not_do_not_matter(world) -> None:
    write_json(world.prepared / "detection" / "classes.json", {"classes": ["stirrer", "lid"]})
    assert world.evaluate(PartBackend("classification")).classification["accuracy"] == 1.0


def test_only_the_split_asked_for_is_scored(world) -> None:
    world.split_rows[0] = (*world.split_rows[0][:3], "train")
    write_rows(world.splits, ("task", "file", "group", "split"), world.split_rows)
    assert world.evaluate().segmentation["images"] == 2


def test_what_is_written_is_the_same_every_time(world, tmp_path) -> None:
    for run in ("one", "two"):
        world.evaluate().write(tmp_path / run, tmp_path / run)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [
        "classification.json",
        "confusion.csv",
        "detection.json",
        "precision_recall.csv",
        "segmentation.json",
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with (tmp_path / "one" / "confusion.csv").open() as stream:
        assert next(iter(csv.DictReader(stream))) == {"actual": "browned", "predicted": "browned"}


def test_pictures_pass_in_batches(world) -> None:
    backend = ColourBackend()
    world.evaluate(backend, batch_size=2)
    assert backend.batches == [2, 2, 2, 1]


def test_batches_do_not_change_the_scores(world) -> None:
    assert world.evaluate(batch_size=1) == world.evaluate(batch_size=8)


def test_a_model_of_other_classes_is_refused(world) -> None:
    write_json(world.prepared / "detection" / "classes.json", {"classes": ["stirrer", "lid"]})
    with pytest.raises(EvaluationError, match="detection classes"):
        world.evaluate()


def test_raw_data_that_changed_since_prepare_are_found_out(world) -> None:
    Image.fromarray(picture(50, 50)).save(world.raw / "detection" / "images" / "00.png")
    with pytest.raises(PackedError, match=r"00\.png: 50x50 pixels, but 128x96"):
        world.evaluate()


def test_missing_inputs_are_named(world) -> None:
    (world.raw / "classification" / "images" / "01.png").unlink()
    with pytest.raises(ImageError, match=r"01\.png: no such file"):
        world.evaluate()
    world.splits.unlink()
    with pytest.raises(PackedError, match=r"splits\.csv"):
        world.evaluate()


def test_the_size_limit_of_the_data_holds(world) -> None:
    world.data = world.data.model_copy(update={"max_pixels": 5000})
    with pytest.raises(ImageError, match="max_pixels"):
        world.evaluate()
