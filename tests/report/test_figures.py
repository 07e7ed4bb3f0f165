import pytest

from panvision.evaluation.figures import SMALLER_IS_BETTER
from panvision.report.figures import (
    BETTER,
    BY_CLASS,
    NOISE,
    WHOLE,
    WORSE,
    compared_keys,
    read_previous,
    task_figures,
)
from panvision.report.inputs import Earlier, Interval, ReportError, Scores, read_metrics
from tests.report.run import METRICS


def flat(run, task):
    return read_metrics(run.metrics / f"{task}.json", Scores).flat()


def test_what_is_better_is_what_evaluation_says() -> None:
    for kinds in (*WHOLE.values(), *BY_CLASS.values()):
        for kind in kinds:
            assert kind.falls == (kind.key in SMALLER_IS_BETTER), kind.key


@pytest.mark.parametrize("task", WHOLE)
def test_every_figure_of_a_file_is_shown_but_counts_and_figures_said_twice(run, task) -> None:
    values = flat(run, task)
    tables = task_figures(task, values, {}, {})
    shown = {figure.kind.key for figure in tables.whole}
    shown |= {f"{figure.kind.key}.{row.name}" for row in tables.classes for figure in row.figures}
    left_out = {"images", "boundary_images", "boundary_mean", "boundary_p95", "temperature"}
    left_out |= {kind.key for kind in WHOLE[task] if kind.optional and values.get(kind.key) is None}
    assert shown == set(values) - left_out


def test_classes_are_rows(run) -> None:
    tables = task_figures("detection", flat(run, "detection"), {"f1.stirrer": Interval(low=0.1, high=0.9)}, {})
    assert [kind.name for kind in tables.columns] == ["AP@0.5", "precision", "recall", "F1", "threshold"]
    lid, stirrer = tables.classes
    assert (lid.name, stirrer.name) == ("lid", "stirrer") and {figure.value for figure in lid.figures} == {None}
    assert [figure.value for figure in stirrer.figures] == [0.7654, 0.75, 0.6, 0.667, 0.41]
    assert [figure.span for figure in stirrer.figures] == ["", "", "", "0.100 to 0.900", ""]
    assert tables.undefined and not tables.measured and not tables.compared


def test_a_file_with_fewer_figures_is_shown_as_well() -> None:
    tables = task_figures("detection", {"map50": 0.5, "map50_95": 0.25, "ap50.lid": 0.5}, {}, {})
    assert [figure.kind.key for figure in tables.whole] == ["map50", "map50_95"]
    assert [kind.key for kind in tables.columns] == ["ap50"] and len(tables.classes) == 1


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
        # Said of another run: the difference holds, the judgement does not.
        ("miou", earlier(0.9, 0.95, 0.001, 0.02), 0.0123, ""),
        ("miou", earlier(None, 0.9123), None, ""),
        # Of errors less is better.
        ("boundary_mean_px", earlier(1.0, 1.256, 0.1, 0.3), 0.256, WORSE),
        ("boundary_mean_px", earlier(2.0, 1.256, -0.9, -0.3), -0.744, BETTER),
    ],
)
def test_changes_are_judged_by_their_paired_interval(run, key, before, change, verdict) -> None:
    tables = task_figures("segmentation", flat(run, "segmentation"), {}, {key: before})
    (figure,) = [figure for figure in tables.whole if figure.known]
    assert figure.kind.key == key and tables.compared
    assert figure.change == (None if change is None else pytest.approx(change)) and figure.verdict == verdict


def test_figures_are_written_with_their_unit(run) -> None:
    interval = Interval(low=1.0, high=2.345)
    tables = task_figures("segmentation", flat(run, "segmentation"), {"boundary_mean_px": interval}, {})
    shown = {figure.kind.key: figure for figure in tables.whole}
    assert shown["miou"].shown(0.5) == "0.500" and shown["miou"].shown(0.5, sign=True) == "+0.500"
    assert shown["miou"].shown(-0.0004, sign=True) == shown["miou"].shown(0.0, sign=True) == "±0.000"
    pixels = shown["boundary_mean_px"]
    assert pixels.shown(1.256) == "1.26 px" and pixels.shown(-0.5, sign=True) == "-0.50 px"
    assert pixels.span in ("1.00 to 2.35", "1.00 to 2.34") and pixels.shown(None) == "undefined"


def test_what_is_chosen_or_counted_is_not_compared(run) -> None:
    keys = compared_keys("detection", flat(run, "detection"))
    assert {"map50", "ap50.lid", "recall.stirrer"} <= set(keys)
    assert not {"images", "threshold.lid", "threshold.stirrer"} & set(keys)
    assert "boundary_images" not in compared_keys("segmentation", flat(run, "segmentation"))


def test_without_the_file_nothing_is_compared_and_a_damaged_one_is_named(run) -> None:
    path = run.metrics / "previous.json"
    assert read_previous(path).tasks == {}
    path.unlink()
    assert read_previous(path).tasks == {}
    path.write_text('{"tasks": 3}')
    with pytest.raises(ReportError, match=r"previous\.json: tasks: .*; run `panvision previous` again"):
        read_previous(path)


def test_the_fixture_has_what_evaluation_writes(run) -> None:
    found = run.evaluate(resamples=0)
    for task in WHOLE:
        assert METRICS[task].keys() == getattr(found, task).keys(), task
