import pytest

from panvision.core.files import write_rows
from panvision.evaluation.results import Results
from panvision.report.charts import RADIUS
from panvision.report.classification import Bin, Cell, read_confusion, read_reliability
from panvision.report.detection import read_precision_recall, read_thresholds
from panvision.report.inputs import ReportError
from panvision.report.plots import read_training


def test_read_training_numbers_epochs_over_both_phases(run) -> None:
    training = read_training(run.reports / "curves")
    assert training.epochs == (1, 5)
    titles = ["Total loss", "Segmentation loss", "Detection loss", "Classification loss"]
    assert [chart.title for chart in training.charts] == [*titles, "Validation metrics", "Learning rate"]
    for chart in training.charts:
        assert chart.divider is not None and not chart.empty
    labels = [dot.label for dot in training.charts[0].lines[0].dots]
    assert labels[:2] == ["training: 1 at epoch 1", "training: 1 at epoch 2"] and len(labels) == 6


def test_read_training_lines_show_their_column(run) -> None:
    columns = {"train_seg": 1.0, "val_det": 2.0, "train_cls": 3.0, "val_total": 4.0, "miou": 0.5, "lr": 0.25}
    for phase, count in (("phase1", 0), ("phase2", 1)):
        path = run.reports / f"curves/{phase}.csv"
        header = path.read_text().splitlines()[0].split(",")
        write_rows(path, header, [[columns.get(name) for name in header]] * count)
    shown = {
        f"{chart.title}, {line.name}": line.note
        for chart in read_training(run.reports / "curves").charts
        for line in chart.lines
        if line.note
    }
    assert shown == {
        "Segmentation loss, training": "1",
        "Detection loss, validation": "2",
        "Classification loss, training": "3",
        "Total loss, validation": "4",
        "Validation metrics, mIoU": "0.5",
        "Learning rate, learning rate": "0.25",
    }


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (0, 0)])
def test_read_training_without_a_phase(run, first, second) -> None:
    run.write_curves("phase1", first)
    run.write_curves("phase2", second)
    training = read_training(run.reports / "curves")
    assert training.epochs == (first, second)
    assert all(chart.divider is None for chart in training.charts)
    assert all(chart.empty for chart in training.charts) is (first == second)


def test_read_training_legend_has_the_last_value(run) -> None:
    charts = read_training(run.reports / "curves").charts
    assert [line.note for line in charts[0].lines] == ["0.2", "0.2"]
    run.write_curves("phase2", 1)  # mAP undefined in both phases' only epoch
    assert [line.note for line in read_training(run.reports / "curves").charts[4].lines] == ["0.5", "", "0.75"]


def test_read_precision_recall(run) -> None:
    path = run.reports / "plots/precision_recall.csv"
    chart = read_precision_recall(path, {"stirrer": 0.5}, ["lid", "stirrer"])
    assert [(line.name, line.note, line.color) for line in chart.lines] == [("stirrer", "AP 0.500", 1)]
    assert chart.lines[0].path.count("L") == 100
    write_rows(path, ("class", "recall", "precision"), [])
    assert read_precision_recall(path, {}, ["lid"]).empty
    write_rows(path, ("class", "recall", "precision"), [("lid", None, 1.0)])
    with pytest.raises(ReportError, match=r"precision_recall\.csv: lid: a recall is missing; run `dvc repro`"):
        read_precision_recall(path, {}, ["lid"])


def test_read_confusion_counts_images(run) -> None:
    path = run.reports / "plots/confusion.csv"
    run.write_confusion([("b", "b"), ("b", "a"), ("b", "a"), ("b", "stranger")])
    found = read_confusion(path, ["b", "a"])
    assert found.names == ["b", "a", "stranger"]
    assert found.rows[0] == [Cell(1, 0.25), Cell(2, 0.5), Cell(1, 0.25)]
    assert found.rows[1] == [Cell(0, 0.0)] * 3


def test_read_reliability(run) -> None:
    path = run.reports / "plots/reliability.csv"
    found = read_reliability(path, {"ece": 0.12, "ece_uncalibrated": None})
    lines = [(line.name, line.note, line.dashed) for line in found.chart.lines]
    assert lines == [("perfect", "", True), ("as shipped", "ECE 0.120", False), ("uncalibrated", "", False)]
    assert found.bins[1] == Bin("as shipped", 0.9, 0.75, 4)
    perfect, shipped, _ = found.chart.lines
    assert not perfect.dots and [dot.label for dot in shipped.dots] == [
        "as shipped: 0.5 at confidence 0.62, 2 images",
        "as shipped: 0.75 at confidence 0.9, 4 images",
    ]
    # The area of a point grows with its number of images.
    assert RADIUS < shipped.dots[0].radius < shipped.dots[1].radius
    assert found.chart.described == "Accuracy over confidence: perfect; as shipped ECE 0.120; uncalibrated"


def test_read_reliability_empty_or_damaged(run) -> None:
    path, columns = run.reports / "plots/reliability.csv", ("probabilities", "confidence", "accuracy", "images")
    write_rows(path, columns, [])
    assert read_reliability(path, {}).chart.empty
    write_rows(path, columns, [("as shipped", 0.5, None, 3)])
    with pytest.raises(ReportError, match=r"reliability\.csv: line 2: a number is missing; run `dvc repro`"):
        read_reliability(path, {})


def test_read_thresholds_marks_that_of_the_class(run) -> None:
    path = run.reports / "plots/thresholds.csv"
    results = Results("detection", "test", True, ["lid", "stirrer"], [], thresholds=[0.3, 0.5])
    (chart,) = read_thresholds(path, results)
    assert (chart.title, chart.mark) == ("stirrer, threshold 0.50", "0.50")
    assert chart.divider == (chart.left + chart.right) / 2
    lines = {line.name: line for line in chart.lines}
    assert list(lines) == ["precision", "recall", "F1", "cost"] and len({line.color for line in chart.lines}) == 4
    # Without a box there is no precision. A cost above that of no box, 0.5, is not drawn; 0.25 is half of it.
    assert [len(lines[name].dots) for name in lines] == [2, 3, 3, 2]
    assert lines["cost"].dots[0].label == "cost: 0.5 at score threshold 0.5" and "0.5 per image" in lines["cost"].note
    write_rows(path, ("class", "threshold"), [])
    with pytest.raises(ReportError, match=r"thresholds\.csv: has no column precision, recall, f1, cost"):
        read_thresholds(path, results)
