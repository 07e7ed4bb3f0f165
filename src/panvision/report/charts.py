"""Line charts as geometry; page.html.jinja draws them as inline SVG, in colours that follow light and dark."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Point = tuple[float, float | None]

# Sides of a chart and its margins, in the SVG's own units.
WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 26
# Series colours that page.css has; beyond them lines are dashed. The first are near those of drawn boxes.
COLORS = 9
# A y axis shorter than this gets the length 1: there is nothing to see on it, nor digits to label it with.
FLAT = 1e-15
# Up to so many points a line shows each of them.
DOTTED = 40
# Radius of a point, and what is added at most for what it stands for.
RADIUS, SWELLING = 2.4, 3.6


@dataclass(frozen=True)
class Series:
    """What one line shows.

    Attributes:
        name: for the legend.
        runs: points (x, y) by rising x; no line joins two runs, nor the neighbours of an undefined y.
        note: stands behind the name.
        color: number of the line's colour.
        said: what a point's text says besides, by its x.
        shares: how much of the whole a point stands for, 0 to 1, by its x; its area grows with it.
        plain: whether it is a line to compare with, which has no points.
    """

    name: str
    runs: list[list[Point]]
    note: str = ""
    color: int = 0
    said: Mapping[float, str] = field(default_factory=dict)
    shares: Mapping[float, float] = field(default_factory=dict)
    plain: bool = False


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in the SVG and what it says."""

    place: float
    label: str


@dataclass(frozen=True)
class Dot:
    """A point in the SVG, and what it says when pointed at."""

    x: float
    y: float
    label: str
    radius: float = RADIUS


@dataclass(frozen=True)
class Line:
    """A series in the SVG: `path` is the `d` of a path element."""

    name: str
    note: str
    color: int
    dashed: bool
    path: str
    dots: list[Dot]
    plain: bool


@dataclass(frozen=True)
class Chart:
    """A drawn chart; `divider` is the x of a vertical line, None for none."""

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    divider: float | None = None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    @property
    def empty(self) -> bool:
        """Whether no line has a point, lines to compare with apart."""
        return not any(line.path for line in self.lines if not line.plain)

    @property
    def described(self) -> str:
        """What is drawn, for who cannot see it."""
        lines = "; ".join(f"{line.name} {line.note}".rstrip() for line in self.lines)
        over = "" if self.x_label in self.title else f" over {self.x_label}"
        return f"{self.title}{over}: {lines}"


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` laid on the SVG from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, smallest: float = 0.0) -> list[Tick]:
        values = tick_values(self.low, self.high, smallest=smallest)
        return [Tick(self.place(value), f"{value:g}") for value in values]


def line_chart(
    title: str,
    series: list[Series],
    *,
    x_label: str,
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] | None = None,
    divider: float | None = None,
) -> Chart:
    """Lay series out on axes.

    Args:
        title: stands above the chart.
        series: the lines.
        x_label: what x counts; "epoch" gets whole numbers only.
        x_range: both ends of the x axis.
        y_range: both ends of the y axis; by default 0 (or the lowest value below it) to the highest value.
        divider: x of a vertical line.
    """
    values = [y for one in series for run in one.runs for _, y in run if y is not None]
    low, high = y_range or (min([0.0, *values]), max(values, default=1.0))
    x_axis = _Axis(*x_range, LEFT, WIDTH - RIGHT)
    y_axis = _Axis(low, high if high - low > FLAT else low + 1.0, HEIGHT - BOTTOM, TOP)
    return Chart(
        title=title,
        x_label=x_label,
        x_ticks=x_axis.ticks(1.0 if x_label == "epoch" else 0.0),
        y_ticks=y_axis.ticks(),
        lines=[_line(one, x_axis, y_axis, x_label) for one in series],
        divider=None if divider is None else x_axis.place(divider),
    )


def tick_values(low: float, high: float, *, smallest: float = 0.0) -> list[float]:
    """Three to seven round numbers from `low` to `high`, a step of at least `smallest` apart."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(smallest, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Twelve digits take off what multiplying added: 3 · 0.1 is 0.3 again.
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _line(series: Series, x_axis: _Axis, y_axis: _Axis, x_label: str) -> Line:
    """A series in the SVG's units; a point without neighbours shows as a dot, for a line needs two."""
    strokes = [stroke for run in series.runs for stroke in _strokes(run)]
    dotted = sum(map(len, strokes)) <= DOTTED
    dots = [
        Dot(
            x_axis.place(x),
            y_axis.place(y),
            f"{series.name}: {y:.4g} at {x_label} {x:.4g}{series.said.get(x, '')}",
            round(RADIUS + SWELLING * math.sqrt(series.shares.get(x, 0.0)), 1),
        )
        for stroke in strokes
        if not series.plain and (dotted or len(stroke) == 1)
        for x, y in stroke
    ]
    path = "".join("M" + "L".join(f"{x_axis.place(x):g} {y_axis.place(y):g}" for x, y in stroke) for stroke in strokes)
    dashed = series.plain or series.color >= COLORS
    return Line(series.name, series.note, series.color % COLORS, dashed, path, dots, series.plain)


def _strokes(run: list[Point]) -> list[list[tuple[float, float]]]:
    """A run cut at its undefined values."""
    strokes: list[list[tuple[float, float]]] = [[]]
    for x, y in run:
        if y is None:
            strokes.append([])
        else:
            strokes[-1].append((x, y))
    return [stroke for stroke in strokes if stroke]
