import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from panvision.core.tasks import TASKS
from panvision.decoding.decoder import RawOutputs, Thresholds
from panvision.export.errors import ExportError
from panvision.export.parity import Parity, compare
from panvision.export.settings import ExportSettings
from panvision.inference.predictor import Predictor
from tests.export.conftest import TRAINED
from tests.tiny import INFO, PLACES, SIZE, ColourBackend, PartBackend

METRICS = ("mask_probability", "box_score", "box_edge_px", "state_probability")
SAME = Parity(4, dict.fromkeys(METRICS, 0.0), 4)


class Calm(ColourBackend):
    """Gives zeros but for one `lid` at the first point; then what `change` makes of the outputs of one picture."""

    def __init__(self, change=None, *, picture: int = 0, info=INFO) -> None:
        super().__init__(info)
        self.change, self.picture = change, picture

    def run(self, images: np.ndarray) -> RawOutputs:
        outputs = {name: np.zeros_like(output) for name, output in super().run(images).items()}
        outputs["class_logits"][:] = -12.0
        outputs["class_logits"][:, 0, 0] = 4.0
        outputs["centerness"][:] = 4.0
        outputs["ltrb"][:] = 1.0
        row = self.picture - sum(self.batches[:-1])
        if self.change and 0 <= row < len(images):
            self.change({name: output[row] for name, output in outputs.items()})
        return outputs


def parity(change, *, picture: int = 0, count: int = 1, info=INFO) -> Parity:
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    changed = Predictor(Calm(change, picture=picture, info=info))
    return compare(Predictor(Calm(info=info)), changed, images, checkpoint="models/a.pth")


def values(found: Parity) -> list[float]:
    return [found.worst[name] for name in METRICS]


def mask(outputs: RawOutputs) -> None:
    outputs["mask_logits"][5, 7] = -np.log(3.0)  # probability 1/2 → 1/4


def score(outputs: RawOutputs) -> None:
    outputs["class_logits"][0, 1] = 4.0  # as likely a stirrer as a lid


def edge(outputs: RawOutputs) -> None:
    outputs["ltrb"][-1, 3] = 1.5  # half a stride of 32 pixels


def state(outputs: RawOutputs) -> None:
    outputs["state_logits"][2] = np.log(2.0)  # thirds → 1/4, 1/4, 1/2


def test_compare_equal_models() -> None:
    assert parity(None, count=4) == SAME


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (mask, (0.25, 0.0, 0.0, 0.0)),
        (score, (0.0, 0.9820 - 0.0025, 0.0, 0.0)),
        (edge, (0.0, 0.0, 16.0, 0.0)),
        (state, (0.0, 0.0, 0.0, 1 / 6)),
    ],
)
@pytest.mark.parametrize("picture", [0, 7, 8, 18])
def test_compare_finds_differences_in_any_image(change, expected, picture) -> None:
    np.testing.assert_allclose(values(parity(change, picture=picture, count=19)), expected, atol=2e-4)


def test_compare_probabilities_of_the_model_as_shipped() -> None:
    """A temperature below 1 makes differences of logits larger differences of probabilities."""
    shipped = replace(INFO, temperature=0.5)  # log 2 / 0.5 = log 4: thirds → 1/6, 1/6, 2/3
    assert parity(state, info=shipped).worst["state_probability"] == pytest.approx(1 / 3)


def test_compare_edges_of_reportable_boxes() -> None:
    strict = replace(INFO, thresholds=Thresholds(score=0.9, nms=0.5, max_detections=1))

    def moved(place: int, logit: float = -12.0):
        def change(outputs: RawOutputs) -> None:
            outputs["ltrb"][place] += 0.25
            outputs["class_logits"][place] = logit

        return change

    assert parity(moved(0, 4.0), info=strict).worst["box_edge_px"] == 2.0  # the checkpoint's best
    assert parity(moved(9), info=strict).worst["box_edge_px"] == 0.0
    assert parity(moved(9), info=INFO).worst["box_edge_px"] == 2.0  # among the 100 best
    assert parity(moved(9, 4.0), info=strict).worst["box_edge_px"] == 2.0  # a box for the ONNX file alone


def test_compare_clips_edges_like_decoding() -> None:
    def far(size: float):
        return lambda outputs: outputs["ltrb"].__setitem__(0, size)

    images = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    found = compare(Predictor(Calm(far(2000.0))), Predictor(Calm(far(1000.0))), images, checkpoint="a.pth")
    assert found.worst["box_edge_px"] == 0.0
    assert found.same_results == 1


def test_compare_counts_equal_results() -> None:
    assert parity(score, picture=9, count=11).same_results == 10  # another box
    assert parity(state, picture=9, count=11).same_results == 10
    assert parity(mask, picture=9, count=11).same_results == 11


@pytest.mark.parametrize("name", [name for spec in TASKS.values() for name in spec.outputs])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_compare_refuses_nan_and_infinity(name, value) -> None:
    def spoil(outputs: RawOutputs) -> None:
        outputs[name].flat[-1] = value

    with pytest.raises(ExportError, match=rf"a\.pth: only its ONNX export gives NaN or infinity in {name}; try"):
        parity(spoil, picture=8, count=9)
    images = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(ExportError, match=rf"a\.pth: the network gives NaN or infinity in {name}; training diverged"):
        compare(Predictor(Calm(spoil)), Predictor(Calm(spoil)), images, checkpoint="models/a.pth")


def test_parity_of_absent_tasks_is_none() -> None:
    images = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    found = compare(
        Predictor(PartBackend("detection")), Predictor(PartBackend("detection")), images, checkpoint="a.pth"
    )
    assert found == Parity(2, {"box_score": 0.0, "box_edge_px": 0.0}, 2)
    found.check(ExportSettings(), "a.pth")
    written = found.to_json(ExportSettings())
    assert set(written) == set(SAME.to_json(ExportSettings()))
    assert written["mask_probability"] is None and written["state_probability"] is None
    with pytest.raises(ExportError, match=r"box_edge_px 9 \(limit 0\.05\); try"):
        replace(found, worst={"box_edge_px": 9.0}).check(ExportSettings(), "a.pth")


def test_compare_refuses_another_description() -> None:
    other = replace(INFO, thresholds=INFO.thresholds._replace(nms=0.4))
    images = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(ExportError, match="but its ONNX export says"):
        compare(Predictor(Calm()), Predictor(Calm(info=other)), images, checkpoint="a.pth")


@pytest.mark.parametrize("name", METRICS)
def test_parity_check_each_metric_has_a_limit(name) -> None:
    settings = ExportSettings(max_probability_error=0.01, max_box_error=0.5)
    limit = 0.5 if name == "box_edge_px" else 0.01
    replace(SAME, worst={name: limit}).check(settings, "a.pth")
    for value in (limit * 1.001, float("nan")):
        with pytest.raises(ExportError) as caught:
            replace(SAME, worst={name: value}).check(settings, "models/a.pth")
        message = str(caught.value)
        assert f"{name} {value:.3g} (limit {limit:g})" in message
        assert "models/a.pth" in message
        assert "4 images" in message
        assert "raise export.max_probability_error or export.max_box_error" in message
        assert "\n" not in message


def test_parity_json_rounds_up() -> None:
    found = Parity(4, dict(zip(METRICS, (1.2e-7, 3.3e-6, 2.04e-2, 1e-3), strict=True)), 3).to_json(ExportSettings())
    assert found == {
        "images": 4,
        "mask_probability": 1e-5,
        "box_score": 1e-5,
        "box_edge_px": 0.0205,
        "state_probability": 0.001,
        "state_distance": None,
        "state_features": None,
        "same_results": 3,
        "passed": True,
    }
    assert json.dumps(SAME.to_json(ExportSettings())["box_edge_px"]) == "0.0"


def test_compare_edges_by_stride_of_the_level() -> None:
    def last_of_each(outputs: RawOutputs) -> None:
        outputs["ltrb"][[63, 79, PLACES - 1]] += np.array([[0.5], [0.125], [0.0625]], np.float32)

    assert parity(last_of_each).worst["box_edge_px"] == 4.0  # 0.5·8, 0.125·16, 0.0625·32


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("part", ["segmentation", "detection", "classification", "backbone"])
def test_parity_check_notices_a_changed_weight(trained, exported, pictures, tmp_path, part) -> None:
    torch = pytest.importorskip("torch")
    from panvision.model.checkpoint import save_checkpoint

    def check(reference: Predictor) -> None:
        compare(reference, Predictor.load(exported), pictures, checkpoint="a.pth").check(ExportSettings(), "a.pth")

    check(trained.predictor)
    model = copy.deepcopy(trained.model)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in getattr(model, part).parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    save_checkpoint(tmp_path / "a.pth", model, meta={"config": TRAINED})
    with pytest.raises(ExportError, match="answers differently on 11 images"):
        check(Predictor.load(tmp_path / "a.pth", "cpu").with_thresholds(0.25, 0.4, 50))
