import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from panvision.model.heads.detection import DetectionOutput
from panvision.training import validation
from panvision.training.validation import validate
from tests.training.small import plan, small_model, small_sets


def look(model, sets, batch_size=4):
    phase = plan(sets, batch_size=batch_size)
    return validate(model, sets, phase.context(model), phase.train, ranks=phase.ranks)


def test_the_batch_size_does_not_change_what_is_found():
    sets = small_sets(held_out=5)
    model = small_model(sets)
    whole, single = look(model, sets, 4), look(model, sets, 1)
    assert single.losses == pytest.approx(whole.losses, rel=1e-4)
    assert single.metrics == pytest.approx(whole.metrics)


def test_validation_learns_nothing_and_leaves_evaluation_mode():
    sets = small_sets()
    model = small_model(sets).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    look(model, sets)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_metrics_are_those_of_the_validation_split():
    sets = small_sets(held_out=4)
    model = small_model(sets)
    last = model.classification.layers[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([1.0, 0.0]))
    states = sets.packed["classification"].states[sets.rows["classification"]["val"]]
    assert look(model, sets).metrics["accuracy"] == pytest.approx((states == 0).mean())


def test_miou_counts_pixels_of_which_half_is_pan():
    sets = small_sets()
    packed = sets.packed["segmentation"]
    right = np.broadcast_to(np.arange(64) >= 32, packed.masks.shape)
    sets.packed["segmentation"] = replace(packed, masks=np.where(right, np.uint8(128), np.uint8(127)))
    model = small_model(sets)
    logits = torch.where(torch.tensor(right[:2, None]), 1.0, -1.0)
    model.segmentation.register_forward_hook(lambda *_: logits)
    assert look(model, sets).metrics["miou"] == 1.0


def test_batches_are_compared_while_the_next_one_runs(monkeypatch):
    """A GPU is waited for at every copy: of the losses, and of what was decoded."""
    sets = small_sets(held_out=6)
    model = small_model(sets)
    events, cpu, decode = [], torch.Tensor.cpu, validation.decode_batch
    model.register_forward_hook(lambda *_: events.append("pass"))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: events.append("copy") or cpu(tensor))
    monkeypatch.setattr(validation, "decode_batch", lambda *given: events.append("decode") or decode(*given))
    look(model, sets, batch_size=2)
    each = ["copy", "decode", "copy"]
    assert events == ["pass", *["pass", *each] * 5, *each]


def test_boxes_on_crowds_are_neither_scored_nor_trained():
    sets = small_sets()
    packed = sets.packed["detection"]
    everywhere = np.tile(np.array([[0, 0, 64, 64]], np.float32), (2, 1))
    nothing = {"boxes": [box[:0] for box in packed.boxes], "labels": [label[:0] for label in packed.labels]}
    crowds = {"crowds": [everywhere] * len(packed), "crowd_labels": [np.array([0, 1])] * len(packed)}
    sets.packed["detection"] = replace(packed, **nothing, **crowds)
    found = look(small_model(sets), sets)
    assert found.losses["det"] == 0.0 and found.metrics["map50"] is None
    # With objects, other found boxes are not false alarms: precision is 1.
    sets.packed["detection"] = replace(packed, **crowds)
    assert look(small_model(sets), sets).metrics["map50"] >= look(small_model(sets), small_sets()).metrics["map50"]


def test_every_loss_has_its_name():
    sets = small_sets()
    assert set(look(small_model(sets), sets).losses) == {
        "seg", "seg_bce", "seg_dice", "det", "det_class", "det_box", "det_centerness", "cls", "total",
    }  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_files_of_the_first_non_finite_batch_are_named():
    sets = small_sets(held_out=6)
    model = small_model(sets)
    passes = []

    def spoil_two(head, _, output):
        passes.append(head)
        if len(passes) < 2:
            return output
        return DetectionOutput(*([level * float("nan") for level in levels] for levels in output))

    model.detection.register_forward_hook(spoil_two)
    validation = look(model, sets, batch_size=1)
    rows = sets.rows["detection"]["val"][2:4]
    assert validation.unsound == {"detection": [sets.packed["detection"].files[row] for row in rows]}
    assert math.isnan(validation.losses["total"]) and math.isfinite(validation.losses["seg"])
    assert look(small_model(sets), sets).unsound == {}
