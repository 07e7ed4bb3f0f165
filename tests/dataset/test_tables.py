import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from panvision.dataset import tables
from panvision.dataset.packed import read_table
from panvision.dataset.tables import GrowingTable, write_table

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=8)
CELLS = st.one_of(TEXTS, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none())
ROWS = st.lists(st.tuples(TEXTS.map(lambda text: f"p{text}"), CELLS, CELLS), max_size=6)
COLUMNS = ("file", "a", "b")


def by_csv(rows):
    """Write the same table with the standard library."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])
    return stream.getvalue().encode()


@given(ROWS)
def test_write_table_equals_the_csv_module(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_table(path, COLUMNS, rows)
    assert path.read_bytes() == by_csv(rows)
    table = read_table(path, COLUMNS)
    assert table["file"].tolist() == [row[0] for row in rows]
    assert table["a"].tolist() == ["" if row[1] is None else str(row[1]) for row in rows]


@given(ROWS)
def test_growing_table_equals_the_whole_one(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("growing") / "table.csv"
    table = GrowingTable(path, COLUMNS)
    for number, row in enumerate(rows):
        table.append(row)
        if number % 2:
            table.flush()
    table.flush()
    assert path.read_bytes() == by_csv(rows)


def test_growing_table_holds_few_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_HELD", 3)
    table = GrowingTable(tmp_path / "table.csv", COLUMNS)
    for number in range(7):
        table.append((f"p{number}", number, None))
    assert (tmp_path / "table.csv").read_bytes() == by_csv([(f"p{number}", number, None) for number in range(6)])


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50))
def test_numbers_come_back_exactly(tmp_path_factory, numbers):
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    write_table(path, ("x",), [(number,) for number in numbers])
    assert read_table(path, ("x",), {"x": float})["x"].tolist() == numbers
