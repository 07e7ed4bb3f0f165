import json

import pytest

from panvision.evaluation.results import Results, ResultsError, parse_results, read_results

IMAGE = {"file": "images/ä.png", "sha256": "ab", "group": "g", "width": 4, "height": 2, "pixels": [1, 2, 3, 2]}
RESULTS = Results("segmentation", "test", True, ["background", "pan"], [{**IMAGE, "boundary": None}, IMAGE])


def test_what_is_written_is_read_again(tmp_path) -> None:
    RESULTS.write(tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == RESULTS
    empty = Results("detection", "test", False, [], [])
    assert parse_results(empty.text(), "") == empty


def test_any_program_can_read_it_and_every_picture_has_a_line() -> None:
    assert json.loads(RESULTS.text())["images"][1] == IMAGE
    assert RESULTS.text().count("\n") == 2 + len(RESULTS.images)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "task": "detection"}', "3"])
def test_anything_else_is_refused_by_name(text) -> None:
    with pytest.raises(ResultsError, match=r"^here\.json: .*evaluate again"):
        parse_results(text, "here.json")


def test_a_missing_file_is_named_with_the_remedy(tmp_path) -> None:
    with pytest.raises(ResultsError, match=r"results\.json: no such file; .*dvc pull"):
        read_results(tmp_path / "results.json")
