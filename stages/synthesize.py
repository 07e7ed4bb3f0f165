"""Stage synthesize: render the demo datasets, params.yaml's `scenes` → data/demo."""

import os
import sys
from pathlib import Path

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.core.params import ParamsError, read_sections
from panvision.scenes.demo import DemoError, write_demo_sets
from panvision.scenes.settings import SceneSettings


def main() -> None:
    """Run the stage in the current folder."""
    try:
        settings = read_sections({"scenes": SceneSettings})["scenes"]
        write_demo_sets(Path("data/demo"), settings, workers=os.cpu_count() or 1)
    except (ParamsError, DemoError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
