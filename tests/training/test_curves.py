import csv

from panvision.training.curves import COLUMNS, write_curves


def test_undefined_figures_are_empty_cells_and_a_phase_without_epochs_is_a_header(tmp_path):
    path = tmp_path / "curves" / "phase1.csv"
    write_curves(path, [])
    assert path.read_text() == ",".join(COLUMNS) + "\n"
    row = dict.fromkeys(COLUMNS, 0.123456789) | {"epoch": 3, "map50": None}
    write_curves(path, [row])
    with path.open() as stream:
        read = next(csv.DictReader(stream))
    assert read["epoch"] == "3" and read["map50"] == "" and read["miou"] == "0.123457"
