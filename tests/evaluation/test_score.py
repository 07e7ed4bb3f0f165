import csv
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from panvision.core.files import write_json, write_rows
from panvision.core.tasks import TASKS
from panvision.dataset.packed import PackedError
from panvision.evaluation.score import EvaluationError, evaluate
from panvision.evaluation.settings import EvaluationSettings
from panvision.inference.predictor import Predictor
from panvision.photos.pixels import ImageError, resize_rgb
from panvision.photos.settings import DataSettings
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

    def add(self, task: str, samples, split: str = "test", *, val: int = 0) -> None:
        """Samples are (pixels, label): a mask, a list of (x1, y1, x2, y2, label), or a state's name.

        The last `val` of them are of the validation split.
        """
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
            index.append((file, pixels.shape[1], pixels.shape[0], hashlib.sha256(pixels).hexdigest(), *values))
            self.split_rows.append((task, file, file, split if row < len(samples) - val else "val"))
        write_rows(folder / "index.csv", ("file", "width", "height", "sha256", *EXTRA[task]), index)
        write_rows(folder / "boxes.csv", ("row", "x1", "y1", "x2", "y2", "label"), boxes)
        write_json(folder / "classes.json", {"classes": CLASSES[task]})
        packed = [resize_rgb(pixels, SIZE) for pixels, _ in samples]
        np.save(folder / "images.npy", np.array(packed, np.uint8).reshape(-1, SIZE, SIZE, 3))
        np.save(folder / "looks.npy", np.zeros((len(samples), 64, 64), np.uint8))
        if task == "segmentation":
            masks = [resize_rgb(np.repeat(label[:, :, None], 3, axis=2), SIZE)[:, :, 0] > 127 for _, label in samples]
            np.save(folder / "masks.npy", np.array(masks, np.uint8).reshape(-1, SIZE, SIZE))
        write_rows(self.splits, ("task", "file", "group", "split"), self.split_rows)

    def evaluate(self, backend=None, *, order=None, choices=None, **settings):
        return evaluate(
            Predictor(backend or ColourBackend()),
            prepared=self.prepared,
            splits=self.splits,
            data=self.data,
            settings=EvaluationSettings(**{"resamples": 20, **settings}),
            order=order,
            choices=choices,
        )


def values(figures) -> list:
    """Every figure in a metrics file."""
    return [each for value in figures.values() for each in (values(value) if isinstance(value, dict) else [value])]


def shape(figures) -> dict:
    """The keys of a metrics file, intervals without their ends."""
    return {key: shape(value) if isinstance(value, dict) and key != "ci95" else None for key, value in figures.items()}


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
    assert found.detection.items() >= {"images": 2, "map50": 1.0, "map50_95": 1.0}.items()
    assert found.detection["ap50"] == {"lid": None, "stirrer": 1.0}
    assert found.classification.items() >= {"images": 2, "accuracy": 1.0, "balanced_accuracy": 1.0}.items()
    assert found.classification["recall"] == {"browned": 1.0, "fresh": None, "frozen": 1.0}


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
    world.evaluate().write(tmp_path / "metrics", tmp_path / "plots", tmp_path / "results")
    for task in TASKS:
        figures = json.loads((tmp_path / "metrics" / f"{task}.json").read_text())
        assert figures.pop("images") == 0 and figures.pop("boundary_images", 0) == 0
        assert set(values(figures)) == {None}
    assert (tmp_path / "plots" / "confusion.csv").read_text() == "actual,predicted\n"
    assert (tmp_path / "plots" / "precision_recall.csv").read_text() == "class,recall,precision\n"


@pytest.mark.parametrize("tasks", SUBSETS)
def test_figures_of_tasks_that_the_model_has_not_are_null(world, tmp_path, tasks) -> None:
    whole, found = world.evaluate(), world.evaluate(PartBackend(*tasks))
    for task in TASKS:
        if task in tasks:
            assert getattr(found, task) == getattr(whole, task)
        else:
            assert set(values(getattr(found, task))) == {None}
            assert shape(getattr(found, task)) == shape(getattr(whole, task))
    assert bool(found.precision_recall) == ("detection" in tasks)
    assert bool(found.confusion) == ("classification" in tasks)
    found.write(tmp_path / "metrics", tmp_path / "plots", tmp_path / "results")
    assert [len(list((tmp_path / name).iterdir())) for name in ("metrics", "plots", "results")] == [3, 3, 3]


def test_classes_of_tasks_that_the_model_has_not_do_not_matter(world) -> None:
    write_json(world.prepared / "detection" / "classes.json", {"classes": ["stirrer", "lid"]})
    assert world.evaluate(PartBackend("classification")).classification["accuracy"] == 1.0


def test_only_the_split_asked_for_is_scored(world) -> None:
    world.split_rows[0] = (*world.split_rows[0][:3], "train")
    write_rows(world.splits, ("task", "file", "group", "split"), world.split_rows)
    assert world.evaluate().segmentation["images"] == 2


def test_what_is_written_is_the_same_every_time(world, tmp_path) -> None:
    for run in ("one", "two"):
        world.evaluate().write(tmp_path / run, tmp_path / run, tmp_path / run / "results")
    names = sorted(path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*.*"))
    assert names == [
        "classification.json",
        "confusion.csv",
        "detection.json",
        "precision_recall.csv",
        "reliability.csv",
        *(f"results/{task}.json" for task in sorted(TASKS)),
        "segmentation.json",
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with (tmp_path / "one" / "confusion.csv").open() as stream:
        assert next(iter(csv.DictReader(stream))) == {"actual": "browned", "predicted": "browned"}


def test_pictures_pass_in_batches(world) -> None:
    backend = ColourBackend()
    world.evaluate(backend, batch_size=2)
    assert backend.batches == [2, 1, 2, 2]


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


def test_thresholds_and_temperature_come_from_the_validation_split_only(world) -> None:
    faint = ColourBackend(box_logit=1.0)  # boxes score 0.85
    pictures = [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)])] * 3
    world.add("detection", pictures, val=1)
    states = [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "browned"), (picture(WIDTH, HEIGHT), "frozen")] * 2
    world.add("classification", states, val=2)
    found = world.evaluate(faint)
    assert found.detection["threshold"]["lid"] is None
    assert 0.3 < found.detection["threshold"]["stirrer"] < 0.85
    assert found.detection["f1"] == {"lid": None, "stirrer": 1.0}
    assert found.classification["temperature"] == pytest.approx(0.2, abs=1e-5)  # never wrong, so as sure as may be
    # Other test labels change nothing of it.
    world.add("detection", [(pixels, []) for pixels, _ in pictures[:2]] + pictures[2:], val=1)
    world.add("classification", [(pixels, "fresh") for pixels, _ in states[:2]] + states[2:], val=2)
    other = world.evaluate(faint)
    assert other.choices == found.choices
    assert other.classification["accuracy"] == 0.0
    assert other.detection["precision"]["stirrer"] == 0.0


def test_with_another_models_choices_the_validation_split_is_not_looked_at(world) -> None:
    world.add("classification", [(picture(WIDTH, HEIGHT), "frozen")] * 3, val=2)
    first = world.evaluate()
    backend = ColourBackend()
    second = world.evaluate(backend, choices=first.choices)
    assert second == first
    assert sum(backend.batches) == 3 + 2 + 1


def test_states_that_follow_each_other_have_an_error_in_states(world) -> None:
    assert world.evaluate().classification["mae_states"] is None
    world.add("classification", [(picture(WIDTH, HEIGHT), state) for state in STATE_NAMES])  # all are called frozen
    found = world.evaluate(order=("fresh", "browned", "frozen"))
    assert found.classification["mae_states"] == pytest.approx((2 + 1 + 0) / 3)
    assert found.classification["quadratic_kappa"] == 0.0
    assert found.results["classification"].order == ["fresh", "browned", "frozen"]


@pytest.mark.parametrize("order", [("fresh", "frozen"), ("fresh", "frozen", "burnt")])
def test_an_order_of_other_states_is_refused_before_anything_is_predicted(world, order) -> None:
    backend = ColourBackend()
    with pytest.raises(EvaluationError, match=r"classification\.order is .*or set it to null"):
        world.evaluate(backend, order=order)
    assert not backend.batches
    assert world.evaluate(PartBackend("detection"), order=order).classification["images"] is None


def test_pictures_of_one_group_are_drawn_together(world) -> None:
    world.add("classification", [(picture(WIDTH, HEIGHT), state) for state in ("frozen", "fresh") * 3])
    apart = world.evaluate(resamples=200).classification["ci95"]["accuracy"]
    assert apart["low"] < 0.5 < apart["high"]
    # Of each group one picture is right and one wrong.
    world.split_rows = [
        (task, file, f"{task}{row // 2}", split) for row, (task, file, _, split) in enumerate(world.split_rows)
    ]
    write_rows(world.splits, ("task", "file", "group", "split"), world.split_rows)
    ranges = world.evaluate(resamples=200).classification["ci95"]
    assert {image["group"] for image in world.evaluate().results["classification"].images} == {
        group for task, _, group, _ in world.split_rows if task == "classification"
    }
    assert ranges["accuracy"]["high"] - ranges["accuracy"]["low"] < apart["high"] - apart["low"]
