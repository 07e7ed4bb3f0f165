import errno
import json
import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panvision.core.files import replacing, write_json, write_rows, write_text


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as scratch:
        scratch.write_text("half of the n")
        raise RuntimeError("killed")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_the_target_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as scratch:
        scratch.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'$"), replacing(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [OSError("encoder error"), OSError(errno.ENOENT, "No such file", "b.txt")])
def test_an_error_with_a_name_is_unchanged(tmp_path, error):
    before = str(error)
    with pytest.raises(OSError) as caught, replacing(tmp_path / "a.txt"):
        raise error
    assert str(caught.value) == before


def test_folders_are_created_and_files_readable_by_all(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    write_text(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_nan_and_infinity_are_refused(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, value)
    assert json.loads(path.read_text()) == {"old": 1}


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": None, "c": 0.1}})
    write_json(tmp_path / "b.json", {"a": {"c": 0.1, "d": None}, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.text("a,\"' ü\n"))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_rows_are_read_back_equal(tmp_path, rows):
    import csv

    path = tmp_path / "a.csv"
    write_rows(path, ("number", "text"), rows)
    with path.open(newline="", encoding="utf-8") as stream:
        read = [(float(row["number"]), row["text"]) for row in csv.DictReader(stream)]
    assert read == rows


def test_none_is_an_empty_cell(tmp_path):
    write_rows(tmp_path / "a.csv", ("a", "b"), [(None, 1.5)])
    assert (tmp_path / "a.csv").read_text() == "a,b\n,1.5\n"
