import csv
from pathlib import Path

import pytest
import yaml

from panvision.training.curves import COLUMNS, NORMS, write_curves


def test_undefined_values_are_empty_and_no_epochs_a_header(tmp_path):
    path = tmp_path / "curves" / "phase1.csv"
    write_curves(path, [])
    assert path.read_text() == ",".join(COLUMNS) + "\n"
    row = dict.fromkeys(COLUMNS, 0.123456789) | {"epoch": 3, "map50": None}
    write_curves(path, [row])
    with path.open() as stream:
        read = next(csv.DictReader(stream))
    assert read["epoch"] == "3" and read["map50"] == "" and read["miou"] == "0.123457"


@pytest.mark.parametrize(
    ("phase", "left_out"),
    [
        # The backbone is frozen, and of the parts of the detection loss only validation's are shown.
        ("phase1", {"backbone_lr", *NORMS, "train_det_class", "train_det_box", "train_det_centerness"}),
        ("phase2", set()),
    ],
)
def test_dvc_plots_every_column_of_both_phases(phase, left_out):
    plots = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["plots"]
    shown = set()
    for plot in plots:
        for settings in plot.values():
            columns = settings["y"].get(f"reports/curves/{phase}.csv", [])
            shown |= {columns} if isinstance(columns, str) else set(columns)
    # Losses of loss.mask_class, which is off by default.
    crossed = {f"{split}_{name}" for split in ("train", "val") for name in ("seg_boxes", "det_masks")}
    assert shown == set(COLUMNS) - {"epoch"} - crossed - left_out
