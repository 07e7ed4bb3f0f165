"""Line charts as geometry; macros.jinja draws them as inline SVG, in colours that follow light and dark mode."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Point = tuple[float, float | None]

# Sides of a chart and its margins, in the SVG's own units.
WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 30
# Number of series colours in page.css; further lines are dashed. The first colours are near those of drawn boxes.
COLORS = 9
# A y axis shorter than this gets the length 1, because its labels would need too many digits.
FLAT = 1e-15
# A line with at most this number of points shows each of them.
DOTTED = 40
# Radius of a point, and the largest addition to it for the fraction that the point represents.
RADIUS, SWELLING = 2.4, 3.6


@dataclass(frozen=True)
class Series:
    """The data of one line.

    Attributes:
        name: for the legend.
        runs: points (x, y) by ascending x; runs are not joined, nor are the neighbours of an undefined y.
        note: text after the name.
        color: number of the line's colour.
        texts: addition to a point's text, by its x.
        fractions: fraction of the whole that a point represents, by its x; its area grows with it.
        plain: True for a line to compare with, which has no points.
    """

    name: str
    runs: list[list[Point]]
    note: str = ""
    color: int = 0
    texts: Mapping[float, str] = field(default_factory=dict)
    fractions: Mapping[float, float] = field(default_factory=dict)
    plain: bool = False


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its position in the SVG and its label."""

    position: float
    label: str


@dataclass(frozen=True)
class Dot:
    """A point in the SVG, and the text that is shown when the pointer is on it."""

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
    """A drawn chart; `divider` is the x of a vertical line, None for none, and `mark` its text."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    divider: float | None = None
    mark: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    @property
    def empty(self) -> bool:
        """True if no line has a point, except lines to compare with."""
        return not any(line.path for line in self.lines if not line.plain)

    @property
    def described(self) -> str:
        """Describe the chart for people who cannot see it."""
        lines = "; ".join(f"{line.name} {line.note}".rstrip() for line in self.lines)
        over = "" if self.x_label in self.title else f" over {self.x_label}"
        return f"{self.title}{over}: {lines}"


@dataclass(frozen=True)
class _Axis:
    """Map values from `low` to `high` to the SVG from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def position(self, value: float) -> float:
        fraction = (value - self.low) / (self.high - self.low)
        return round(self.start + fraction * (self.end - self.start), 1)

    def ticks(self, smallest: float = 0.0) -> list[Tick]:
        values = tick_values(self.low, self.high, smallest=smallest)
        return [Tick(self.position(value), f"{value:g}") for value in values]


def line_chart(
    title: str,
    series: list[Series],
    *,
    names: tuple[str, str],
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] | None = None,
    divider: float | None = None,
    mark: str = "",
) -> Chart:
    """Arrange series on axes.

    Args:
        title: of the chart.
        series: the lines.
        names: of the x axis and of the y axis; epochs get integer ticks.
        x_range: both ends of the x axis.
        y_range: both ends of the y axis; by default 0 (or the lowest value below it) to the highest value.
        divider: x of a vertical line.
        mark: text beside it.
    """
    x_label, y_label = names
    values = [y for one in series for run in one.runs for _, y in run if y is not None]
    low, high = y_range or (min([0.0, *values]), max(values, default=1.0))
    x_axis = _Axis(*x_range, LEFT, WIDTH - RIGHT)
    y_axis = _Axis(low, high if high - low > FLAT else low + 1.0, HEIGHT - BOTTOM, TOP)
    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=x_axis.ticks(1.0 if x_label == "epoch" else 0.0),
        y_ticks=y_axis.ticks(),
        lines=[_line(one, x_axis, y_axis, x_label) for one in series],
        divider=None if divider is None else x_axis.position(divider),
        mark=mark,
    )


def tick_values(low: float, high: float, *, smallest: float = 0.0) -> list[float]:
    """Return three to seven round numbers from `low` to `high`, at least `smallest` apart."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(smallest, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Twelve digits remove the rounding error of the product: 3 · 0.1 is 0.3 again.
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _line(series: Series, x_axis: _Axis, y_axis: _Axis, x_label: str) -> Line:
    """Convert a series to the SVG's units; a point without neighbours is a dot, because a line needs two points."""
    strokes = [stroke for run in series.runs for stroke in _strokes(run)]
    dotted = sum(map(len, strokes)) <= DOTTED
    dots = [
        Dot(
            x_axis.position(x),
            y_axis.position(y),
            f"{series.name}: {y:.4g} at {x_label} {x:.4g}{series.texts.get(x, '')}",
            round(RADIUS + SWELLING * math.sqrt(series.fractions.get(x, 0.0)), 1),
        )
        for stroke in strokes
        if not series.plain and (dotted or len(stroke) == 1)
        for x, y in stroke
    ]
    path = "".join(
        "M" + "L".join(f"{x_axis.position(x):g} {y_axis.position(y):g}" for x, y in stroke) for stroke in strokes
    )
    dashed = series.plain or series.color >= COLORS
    return Line(series.name, series.note, series.color % COLORS, dashed, path, dots, series.plain)


def _strokes(run: list[Point]) -> list[list[tuple[float, float]]]:
    """Cut a run at its undefined values."""
    strokes: list[list[tuple[float, float]]] = [[]]
    for x, y in run:
        if y is None:
            strokes.append([])
        else:
            strokes[-1].append((x, y))
    return [stroke for stroke in strokes if stroke]
