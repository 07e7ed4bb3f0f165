import math

import pytest
import torch

from panvision.training.guards import WIDTH, FiniteGuard, Means, describe, excused_values


def values(seg=1.0, grad_norm=2.0):
    return {"seg": torch.tensor(seg), "grad_norm": torch.tensor(grad_norm)}


def test_finite_guard_finds_nothing_where_all_is_finite():
    guard = FiniteGuard()
    assert guard.find() is None
    for step in range(5):
        guard.note(step, values())
    assert guard.find() is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["seg", "grad_norm"])
def test_finite_guard_keeps_the_values_of_the_first_bad_step(name, bad):
    guard = FiniteGuard()
    guard.note(0, values(seg=7.0))
    guard.note(1, values(**{name: bad}))
    guard.note(2, values(seg=math.nan, grad_norm=math.nan))
    guard.note(3, values(seg=9.0))
    found = guard.find()
    assert found.step == 1
    assert found.values == pytest.approx({"seg": 1.0, "grad_norm": 2.0} | {name: bad}, nan_ok=True)


def test_finite_guard_finds_the_first_step():
    guard = FiniteGuard()
    guard.note(0, values(seg=math.nan))
    assert guard.find().step == 0


def test_finite_guard_reports_excused_values_only():
    guard = FiniteGuard()
    guard.note(0, values(grad_norm=math.inf), excused=("grad_norm",))
    assert guard.find() is None
    guard.note(1, values(seg=math.nan, grad_norm=math.inf), excused=("grad_norm",))
    assert guard.find().values["grad_norm"] == math.inf


def test_means_are_over_finite_steps():
    means = Means()
    assert means.read() == {}
    means.add(values(seg=1.0, grad_norm=math.inf))
    means.add(values(seg=3.0, grad_norm=5.0))
    assert means.read() == {"seg": 2.0, "grad_norm": 5.0}


def test_value_that_was_never_finite_has_no_mean():
    means = Means()
    means.add(values(grad_norm=math.nan))
    assert means.read() == {"seg": 1.0}


def test_description_fits_80_columns_and_breaks_no_name():
    files = {"detection": [f"images/an-image-{number}.jpg" for number in range(20)], "classification": ["raw/1.jpg"]}
    text = describe({"seg": math.nan, "det_centerness": 0.125, "grad_norm": math.inf}, files)
    assert "seg nan, det_centerness 0.125, grad_norm inf" in text
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert all(name in text for names in files.values() for name in names)
    assert "  classification: raw/1.jpg" in text.splitlines()


def test_overflow_is_excused_until_the_scale_falls_below_one():
    assert excused_values(torch.amp.GradScaler("cpu", enabled=False)) == ()
    assert excused_values(torch.amp.GradScaler("cpu", init_scale=4.0)) == ("grad_norm",)
    assert excused_values(torch.amp.GradScaler("cpu", init_scale=0.5)) == ()
