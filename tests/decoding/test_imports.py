import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "modules",
    [
        "panvision.decoding.points, panvision.decoding.boxes, panvision.decoding.masks, panvision.decoding.states",
        "panvision.scoring.segmentation, panvision.scoring.detection, panvision.scoring.classification",
    ],
)
def test_room_needs_no_torch(modules: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
