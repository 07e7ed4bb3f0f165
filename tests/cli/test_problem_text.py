import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.cli.problem_text import WIDTH, count_line, printable, problem_lines
from panvision.dataset.problems import CATALOGUE, problem

words = st.text("abc de-,:", min_size=1, max_size=200)


def lines(problems, limit=None) -> list[str]:
    return list(problem_lines(problems, limit=limit))


def test_errors_come_first_with_one_remedy_per_kind():
    found = [
        problem("mask_empty", "segmentation/masks/b.png", "marks no pan"),
        problem("image_empty", "detection/images/b.png", "is empty"),
        problem("image_empty", "detection/images/a.png", "is empty"),
    ]
    assert lines(found) == [
        "",
        "error image_empty 2: copy the image again, or remove it with its labels",
        "  detection/images/a.png: is empty",
        "  detection/images/b.png: is empty",
        "",
        "warning mask_empty 1: nothing, if the image shows no pan",
        "  segmentation/masks/b.png: marks no pan",
    ]


def test_the_first_files_of_many_are_shown():
    found = [problem("image_empty", f"detection/images/{number}.png", "is empty") for number in range(7)]
    shown = lines(found, limit=5)
    assert shown[-2:] == ["  detection/images/4.png: is empty", "  … and 2 more (--all shows them)"]
    assert len(lines(found)) == 2 + 7 and "more" not in lines(found[:5], limit=5)[-1]


def test_a_long_path_is_never_broken():
    file = "classification/images/" + "a long name with spaces " * 5 + ".png"
    shown = lines([problem("image_empty", file, "is empty")])
    assert shown[-2:] == [f"  {file}:", "      is empty"]


@given(st.sampled_from(sorted(CATALOGUE)), words, st.text("ab /-", max_size=60))
def test_lines_fit_the_terminal_but_for_long_paths(code, reason, file):
    for line in lines([problem(code, file, reason)]):
        assert len(line) <= WIDTH or file in line or max(map(len, line.split())) > WIDTH - 8


def test_control_characters_are_escaped():
    shown = lines([problem("image_empty", "detection/\x1b[31m\n\r.png", "is\x07 empty")])
    assert shown[-1] == "  detection/\\x1b[31m\\n\\r.png: is\\x07 empty"
    assert printable("größe 图 é") == "größe 图 é"


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ([], "no problems"),
        (["exif_rotated"], "0 errors, 0 warnings, 1 fixed"),
        (["mask_empty", "mask_full", "exif_rotated"], "0 errors, 2 warnings, 1 fixed"),
        (["image_empty", "mask_full"], "1 error, 1 warning, 0 fixed; fix the errors before training"),
    ],
)
def test_counts_in_words(codes, said):
    assert count_line([problem(code, "f", "r") for code in codes]) == said
