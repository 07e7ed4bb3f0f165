from dataclasses import replace

from panvision.cli.compare import described, markdown, summary, text
from panvision.evaluation.compare import compare_results
from tests.evaluation.made import box_results, mask_results, state_results


def compared(one, other):
    return compare_results(one, other, resamples=50, seed=0)


def test_different_test_sets_are_said_to_differ():
    found = compared(mask_results(count=12), mask_results(count=8))
    assert "the test sets differ: 4 images only in the first, 0 only in the second" in described(found)
    assert "differ" not in described(compared(mask_results(), mask_results()))
    other = state_results()
    other.images[0]["truth"] = 2
    assert "1 images bear other labels" in described(compared(state_results(), other))


def test_what_is_not_compared_has_its_reason_and_no_table():
    nothing = compared(box_results(), replace(box_results(), trained=False, images=[]))
    assert "not compared: trained in the first only" in text("a", "b", [nothing])
    assert "|" not in markdown("a", "b", [nothing])
    assert summary([nothing]) == "There is nothing to compare."


def test_better_and_worse_are_both_named_in_one_sentence():
    found = [
        compared(mask_results(error=0.3), mask_results(error=0.1)),
        compared(box_results(shift=1), box_results(shift=9)),
    ]
    said = summary(found)
    assert said.startswith("More than noise: better: segmentation miou") and "worse: detection map50" in said
    assert said.endswith("All else is within noise.")
    assert "**worse**" in markdown("a", "b", found)


def test_names_of_classes_do_not_break_the_table():
    results = replace(box_results(), classes=["a|b", "c"])
    assert "| ap50.a\\|b |" in markdown("x|y", "b", [compared(results, results)])
