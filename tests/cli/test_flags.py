import argparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.cli.flags import fraction, project_of, whole_number


@settings(max_examples=40, deadline=None)
@given(st.integers(-5, 30), st.integers(0, 9), st.none() | st.integers(10, 20))
def test_whole_numbers_are_those_of_the_range(number, low, high):
    read = whole_number(low, high)
    if number >= low and (high is None or number <= high):
        assert read(str(number)) == number
    else:
        with pytest.raises(argparse.ArgumentTypeError, match=f"found {number}"):
            read(str(number))


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", "nan"])
def test_no_whole_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match="not a whole number"):
        whole_number(0)(text)


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.5, 1.5) | st.sampled_from([0.0, 1.0, float("nan"), float("inf")]))
def test_fractions_lie_in_zero_to_one(value):
    if 0 <= value <= 1:
        assert fraction(repr(value)) == value
    else:
        with pytest.raises(argparse.ArgumentTypeError, match="must lie in 0 to 1"):
            fraction(repr(value))


def test_the_projects_folder_must_be_one(tmp_path):
    (tmp_path / "file").touch()
    assert project_of(argparse.Namespace(project=str(tmp_path))) == tmp_path
    for name, kind in (("none", FileNotFoundError), ("file", NotADirectoryError)):
        with pytest.raises(kind):
            project_of(argparse.Namespace(project=str(tmp_path / name)))
