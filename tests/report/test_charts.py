import pytest

from panvision.report.charts import (
    BOTTOM,
    COLORS,
    DOTTED,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    line_chart,
    tick_values,
)


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 0.6, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        (0.0, 7.3, [0.0, 2.0, 4.0, 6.0]),
        (-1.5, 1.5, [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]),
        (0.0, 2e-6, [0.0, 5e-7, 1e-6, 1.5e-6, 2e-6]),
        (0.0, 3e30, [0.0, 5e29, 1e30, 1.5e30, 2e30, 2.5e30, 3e30]),
    ],
)
def test_ticks_are_round_numbers_inside_the_axis(low, high, values) -> None:
    assert tick_values(low, high) == values


@pytest.mark.parametrize("epochs", [1, 2, 5, 6, 7, 30, 99, 1000])
def test_epochs_get_whole_ticks(epochs) -> None:
    values = tick_values(0.5, epochs + 0.5, smallest=1.0)
    assert values and all(value == int(value) and 1 <= value <= epochs for value in values)
    assert len(values) <= 7


def chart(*runs, **options):
    return line_chart("title", [Series("line", list(runs))], names=("epoch", "loss"), x_range=(0.0, 4.0), **options)


def test_values_fill_the_axes() -> None:
    line = chart([(0, 0.0), (2, 5.0), (4, 10.0)]).lines[0]
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert line.path == f"M{LEFT} {HEIGHT - BOTTOM}L{middle:g} {(HEIGHT - BOTTOM + TOP) / 2:g}L{WIDTH - RIGHT} {TOP}"


def test_line_chart_breaks_at_undefined_values() -> None:
    line = chart([(0, 1.0), (1, 1.0), (2, None), (3, 1.0)]).lines[0]
    assert line.path.count("M") == 2 and line.path.count("L") == 1
    many = [(x / 100, 1.0) for x in range(DOTTED + 1)]
    line = chart([*many, (2, None), (3, 0.5)]).lines[0]
    assert [dot.label for dot in line.dots] == ["line: 0.5 at epoch 3"]


def test_runs_are_not_joined() -> None:
    assert chart([(0, 1.0), (1, 1.0)], [(2, 1.0), (3, 1.0)]).lines[0].path.count("M") == 2


def test_nothing_and_flat_lines_can_be_drawn() -> None:
    assert chart([]).empty
    assert chart([(0, None)]).empty
    assert not chart([(0, 0.0), (1, 0.0)]).empty
    assert not chart([(0, 5e-324)]).empty


def test_the_y_axis_starts_at_zero_or_below() -> None:
    assert chart([(0, 3.0), (1, 4.0)]).y_ticks[0].label == "0"
    assert chart([(0, -3.0), (1, 4.0)]).y_ticks[0].label == "-2"


def test_lines_beyond_the_colours_are_dashed() -> None:
    series = [Series("a", [], color=1), Series("b", [], color=COLORS + 1)]
    lines = line_chart("title", series, names=("recall", "precision")).lines
    assert [(line.color, line.dashed) for line in lines] == [(1, False), (1, True)]


def test_the_divider_is_between_the_phases() -> None:
    assert chart([(0, 1.0)]).divider is None
    assert chart([(0, 1.0)], divider=2.0).divider == (LEFT + WIDTH - RIGHT) / 2
