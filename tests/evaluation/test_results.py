import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from panvision.evaluation.results import (
    HEAT_CELLS,
    HEAT_LEVELS,
    Results,
    ResultsError,
    decode_heat,
    decode_mask,
    encode_heat,
    encode_mask,
    parse_results,
    read_predictions,
    read_results,
)

IMAGE = {"file": "images/ä.png", "sha256": "ab", "group": "g", "width": 4, "height": 2, "pixels": [1, 2, 3, 2]}
RESULTS = Results("segmentation", "test", True, ["background", "pan"], [{**IMAGE, "boundary": None}, IMAGE])


def test_results_are_read_as_written(tmp_path) -> None:
    RESULTS.write(tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == RESULTS
    empty = Results("detection", "test", False, [], [])
    assert parse_results(empty.text(), "") == empty


def test_results_are_json_with_a_line_per_image() -> None:
    assert json.loads(RESULTS.text())["images"][1] == IMAGE
    assert RESULTS.text().count("\n") == 2 + len(RESULTS.images)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "task": "detection"}', "3"])
def test_parse_results_refuses_anything_else(text) -> None:
    with pytest.raises(ResultsError, match=r"^here\.json: .*evaluate again"):
        parse_results(text, "here.json")


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(ResultsError, match=r"results\.json: no such file; .*dvc pull"):
        read_results(tmp_path / "results.json")
    (tmp_path / "predictions.json").write_text('{"format": 1}')
    with pytest.raises(ResultsError, match=r"predictions\.json: damaged"):
        read_predictions(tmp_path / "predictions.json")


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (40, 90)])
def test_masks_are_decoded_as_encoded(shape):
    mask = np.random.default_rng(0).integers(0, 2, shape, np.uint8) * 255
    assert (decode_mask(json.loads(json.dumps(encode_mask(mask)))) == mask).all()
    assert decode_mask(encode_mask(mask * 0)).max() == 0


@given(arrays(np.float32, st.tuples(st.integers(1, 32), st.integers(1, 32)), elements=st.floats(0, 1, width=32)))
def test_maps_are_decoded_to_half_a_level(heat):
    decoded = decode_heat(json.loads(json.dumps(encode_heat(heat))))
    assert decoded.shape == heat.shape and decoded.dtype == np.float32
    assert np.abs(decoded - heat).max() <= 0.5 / (HEAT_LEVELS - 1) + 1e-6


def test_large_maps_are_reduced():
    heat = np.zeros((64, 40), np.float32)
    heat[:32] = 1.0
    decoded = decode_heat(encode_heat(heat))
    assert decoded.shape == (HEAT_CELLS, HEAT_CELLS) and decoded[:15].min() == 1.0 and decoded[17:].max() == 0.0
