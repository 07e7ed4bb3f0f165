"""Stage report: show data, metrics, curves and test images with their truth as one HTML page."""

import sys
from pathlib import Path

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.core.files import write_text
from panvision.core.params import ParamsError, read_sections
from panvision.dataset.packed import PackedError
from panvision.photos.pixels import ImageError
from panvision.photos.settings import DataSettings
from panvision.report.inputs import ReportError
from panvision.report.page import RunFiles, build_report
from panvision.report.settings import ReportSettings

FILES = RunFiles(
    prepared=Path("build/prepared"),
    splits=Path("build/splits.csv"),
    problems=Path("build/problems.csv"),
    config=Path("models/config.json"),
    metrics=Path("metrics"),
    reports=Path("reports"),
)
PAGE = "reports/report.html"


def main() -> None:
    """Read the outputs of the other stages; write the page."""
    try:
        settings = read_sections({"data": DataSettings, "report": ReportSettings})
        page = build_report(files=FILES, data=settings["data"], settings=settings["report"])
    except (ParamsError, PackedError, ReportError, ImageError) as error:
        sys.exit(str(error))
    write_text(PAGE, page)
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
