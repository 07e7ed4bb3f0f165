"""The section on the covered fraction."""

from collections.abc import Mapping
from typing import Any

from panvision.evaluation.results import Results
from panvision.report.mistakes import Kind, Mistake, Mistakes, Verdict
from panvision.report.section import Section, ShownMetric

OFF = Kind("coverage off", "the fraction is wrong by more than 10%")


def verdict(image: Mapping[str, Any], results: Results) -> Verdict:
    """Return the error."""
    error = abs(image["fraction"] - image["truth"])
    return Verdict(f"off by {error:.0%}", right=error <= 0.1)


def mistakes(image: Mapping[str, Any], results: Results) -> Mistakes | None:
    """Find a wrong fraction."""
    error = abs(image["fraction"] - image["truth"])
    text = f"The pan covers {image['truth']:.0%}, predicted {image['fraction']:.0%}."
    return Mistakes(image["file"], error, [Mistake(OFF, text)]) if error > 0.1 else None


SECTION = Section(
    intro="How much of the image the pan covers: one fraction for each of {images}.",
    metrics=(ShownMetric("mae", bar=False, smaller=True),),
    verdict=verdict,
    mistakes=mistakes,
    color=3,
)
