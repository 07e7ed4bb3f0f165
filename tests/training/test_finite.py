import math

import pytest
import torch

from panvision.training.finite import WIDTH, FiniteWatch, Means, describe


def values(seg=1.0, grad_norm=2.0):
    return {"seg": torch.tensor(seg), "grad_norm": torch.tensor(grad_norm)}


def test_nothing_is_found_where_all_is_finite():
    watch = FiniteWatch()
    assert watch.look() is None
    for step in range(5):
        watch.note(step, values())
    assert watch.look() is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["seg", "grad_norm"])
def test_the_first_bad_step_is_remembered_with_its_own_figures(name, bad):
    watch = FiniteWatch()
    watch.note(0, values(seg=7.0))
    watch.note(1, values(**{name: bad}))
    watch.note(2, values(seg=math.nan, grad_norm=math.nan))
    watch.note(3, values(seg=9.0))
    found = watch.look()
    assert found.step == 1
    assert found.values == pytest.approx({"seg": 1.0, "grad_norm": 2.0} | {name: bad}, nan_ok=True)


def test_the_very_first_step_may_be_the_bad_one():
    watch = FiniteWatch()
    watch.note(0, values(seg=math.nan))
    assert watch.look().step == 0


def test_an_excused_figure_is_told_and_not_judged():
    watch = FiniteWatch()
    watch.note(0, values(grad_norm=math.inf), excused=("grad_norm",))
    assert watch.look() is None
    watch.note(1, values(seg=math.nan, grad_norm=math.inf), excused=("grad_norm",))
    assert watch.look().values["grad_norm"] == math.inf


def test_means_are_over_the_steps_in_which_a_figure_was_finite():
    means = Means()
    assert means.read() == {}
    means.add(values(seg=1.0, grad_norm=math.inf))
    means.add(values(seg=3.0, grad_norm=5.0))
    assert means.read() == {"seg": 2.0, "grad_norm": 5.0}


def test_a_figure_that_never_was_finite_has_no_mean():
    means = Means()
    means.add(values(grad_norm=math.nan))
    assert means.read() == {"seg": 1.0}


def test_a_description_fits_80_columns_and_breaks_no_name():
    files = {"detection": [f"images/a-photo-{number}.jpg" for number in range(20)], "classification": ["raw/1.jpg"]}
    text = describe({"seg": math.nan, "det_centerness": 0.125, "grad_norm": math.inf}, files)
    assert "seg nan, det_centerness 0.125, grad_norm inf" in text
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert all(name in text for names in files.values() for name in names)
    assert "  classification: raw/1.jpg" in text.splitlines()
