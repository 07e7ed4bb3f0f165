import pytest

from panvision.core.tasks import TASKS
from panvision.evaluation.metrics import SMALLER_IS_BETTER
from panvision.report.inputs import Earlier, Interval, ReportError, Scores, read_metrics
from panvision.report.metrics import BETTER, NOISE, WORSE, compared_keys, metric_tables, read_previous
from panvision.report.table import SECTIONS
from tests.report.run import METRICS


def flat(run, task):
    return read_metrics(run.metrics / f"{task}.json", Scores).flat()


def test_smaller_is_better_as_in_evaluation() -> None:
    for section in SECTIONS.values():
        for metric in (*section.metrics, *section.class_metrics):
            assert metric.smaller == (metric.key in SMALLER_IS_BETTER), metric.key


@pytest.mark.parametrize("task", TASKS)
def test_metric_tables_show_every_metric(run, task) -> None:
    values = flat(run, task)
    tables = metric_tables(task, values, {}, {})
    shown = {entry.metric.key for entry in tables.whole}
    shown |= {f"{entry.metric.key}.{row.name}" for row in tables.classes for entry in row.entries}
    left_out = {"images", "boundary_images", "boundary_mean", "boundary_p95", "temperature"}
    left_out |= {metric.key for metric in SECTIONS[task].metrics if metric.optional and values.get(metric.key) is None}
    assert shown == set(values) - left_out


def test_metric_tables_of_classes(run) -> None:
    tables = metric_tables("detection", flat(run, "detection"), {"f1.stirrer": Interval(low=0.1, high=0.9)}, {})
    assert [metric.name for metric in tables.columns] == ["AP@0.5", "precision", "recall", "F1", "threshold"]
    lid, stirrer = tables.classes
    assert (lid.name, stirrer.name) == ("lid", "stirrer") and {entry.value for entry in lid.entries} == {None, 0.3}
    assert [entry.value for entry in stirrer.entries] == [0.7654, 0.75, 0.6, 0.667, 0.41]
    assert [entry.span for entry in stirrer.entries] == ["", "", "", "0.100 to 0.900", ""]
    assert tables.undefined and not tables.measured and not tables.compared
    tables = metric_tables("detection", flat(run, "detection"), {}, {}, classes=["stirrer", "pan"])
    assert [row.name for row in tables.classes] == ["stirrer", "lid"]  # the order of the classes, then the others


def test_metric_without_an_interval_has_a_reason() -> None:
    reasons = {"map50": "few_groups", "map50_95": "undefined"}
    tables = metric_tables("detection", {"map50": 0.5, "map50_95": None}, {}, {}, reasons=reasons)
    assert [entry.span for entry in tables.whole] == ["few groups", ""] and tables.measured


def test_metric_tables_of_fewer_metrics() -> None:
    tables = metric_tables("detection", {"map50": 0.5, "map50_95": 0.25, "ap50.lid": 0.5}, {}, {})
    assert [entry.metric.key for entry in tables.whole] == ["map50", "map50_95"]
    assert [metric.key for metric in tables.columns] == ["ap50"] and len(tables.classes) == 1


def earlier(value, present, low=None, high=None) -> Earlier:
    difference = None if low is None else Interval(low=low, high=high)
    return Earlier(value=value, present=present, difference=difference)


@pytest.mark.parametrize(
    ("key", "before", "change", "verdict"),
    [
        ("miou", earlier(0.9, 0.9123, 0.001, 0.02), 0.0123, BETTER),
        ("miou", earlier(0.92, 0.9123, -0.02, -0.001), -0.0077, WORSE),
        ("miou", earlier(0.9, 0.9123, 0.0, 0.02), 0.0123, NOISE),
        ("miou", earlier(0.9, 0.9123), 0.0123, ""),
        # Of another run: the change is valid, the verdict is not.
        ("miou", earlier(0.9, 0.95, 0.001, 0.02), 0.0123, ""),
        ("miou", earlier(None, 0.9123), None, ""),
        # Smaller errors are better.
        ("boundary_mean_px", earlier(1.0, 1.256, 0.1, 0.3), 0.256, WORSE),
        ("boundary_mean_px", earlier(2.0, 1.256, -0.9, -0.3), -0.744, BETTER),
    ],
)
def test_verdicts_follow_the_paired_interval(run, key, before, change, verdict) -> None:
    tables = metric_tables("segmentation", flat(run, "segmentation"), {}, {key: before})
    (entry,) = [entry for entry in tables.whole if entry.known]
    assert entry.metric.key == key and tables.compared
    assert entry.change == (None if change is None else pytest.approx(change)) and entry.verdict == verdict


def test_entries_are_formatted_with_their_unit(run) -> None:
    interval = Interval(low=1.0, high=2.345)
    tables = metric_tables("segmentation", flat(run, "segmentation"), {"boundary_mean_px": interval}, {})
    shown = {entry.metric.key: entry for entry in tables.whole}
    assert shown["miou"].shown(0.5) == "0.500" and shown["miou"].shown(0.5, sign=True) == "+0.500"
    assert shown["miou"].shown(-0.0004, sign=True) == shown["miou"].shown(0.0, sign=True) == "±0.000"
    pixels = shown["boundary_mean_px"]
    assert pixels.shown(1.256) == "1.26 px" and pixels.shown(-0.5, sign=True) == "-0.50 px"
    assert pixels.span in ("1.00 to 2.35", "1.00 to 2.34") and pixels.shown(None) == "undefined"


def test_compared_keys_are_measured(run) -> None:
    keys = compared_keys("detection", flat(run, "detection"))
    assert {"map50", "ap50.lid", "recall.stirrer"} <= set(keys)
    assert not {"images", "threshold.lid", "threshold.stirrer"} & set(keys)
    assert "boundary_images" not in compared_keys("segmentation", flat(run, "segmentation"))


def test_read_previous_missing_or_damaged(run) -> None:
    path = run.metrics / "previous.json"
    assert read_previous(path).tasks == {}
    path.unlink()
    assert read_previous(path).tasks == {}
    path.write_text('{"tasks": 3}')
    with pytest.raises(ReportError, match=r"previous\.json: tasks: .*; run `panvision previous` again"):
        read_previous(path)


def test_fixture_has_the_keys_of_evaluation(run) -> None:
    found = run.evaluate()
    for task in TASKS:
        assert METRICS[task].keys() == found.metrics[task].keys(), task
