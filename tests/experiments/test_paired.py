import json
from dataclasses import replace

import pytest

from panvision.experiments.compare import markdown, text
from panvision.experiments.paired import compare_results, to_json
from tests.evaluation.made import BOXES, all_results, box_results, mask_results, state_results


def compare(one, other):
    return compare_results(one, other)


def by_name(comparison):
    return {each.name: each for each in comparison.differences}


def test_a_model_equals_itself():
    for task, results in all_results().items():
        found = compare(results, results)
        assert found.task == task and found.same_images and found.images == 12 and found.groups == 11
        assert {each.verdict for each in found.differences} <= {"within noise", "undefined"}
        assert {each.difference for each in found.differences} <= {0.0, None}
        assert {(each.low, each.high) for each in found.differences} <= {(0.0, 0.0), (None, None)}


def test_better_on_every_image_is_better():
    found = by_name(compare(mask_results(error=0.3), mask_results(error=0.1)))
    assert found["miou"].verdict == found["boundary_mean_px"].verdict == "better"
    assert found["miou"].low > 0 > found["boundary_mean_px"].high
    assert found["miou"].difference == pytest.approx(found["miou"].other - found["miou"].one)
    assert by_name(compare(mask_results(error=0.1), mask_results(error=0.3)))["miou"].verdict == "worse"


@pytest.mark.parametrize(("gap", "verdict"), [(1e-8, "within noise"), (1e-5, "worse"), (-1e-5, "better")])
def test_rounding_is_within_noise(gap, verdict):
    one = mask_results(error=0.2)
    images = [
        {**image, "boundary": {key: value + gap for key, value in image["boundary"].items()}} for image in one.images
    ]
    found = by_name(compare(one, replace(one, images=images)))["boundary_mean_px"]
    assert found.difference == pytest.approx(gap, rel=1e-3) and found.verdict == verdict


def test_a_difference_on_a_few_images_is_noise():
    one = state_results()
    images = [dict(image) for image in one.images]
    images[1]["probabilities"] = [0.0, 1.0, 0.0]
    images[2]["probabilities"] = [1.0, 0.0, 0.0]
    found = by_name(compare(one, replace(one, images=images)))
    assert found["accuracy"].verdict == "within noise"
    assert found["accuracy"].low <= 0 <= found["accuracy"].high


def test_both_are_scored_on_the_same_samples():
    """A constant gain in every image has an interval far narrower than that of either metric."""
    found = by_name(compare(box_results(shift=3), box_results(shift=3, seed=1)))
    assert found["map50_95"].high - found["map50_95"].low > 0.01
    one = mask_results(error=0.2)
    other = replace(
        one,
        images=[
            {**image, "boundary": {key: value + 1 for key, value in image["boundary"].items()}} for image in one.images
        ],
    )
    gap = by_name(compare(one, other))["boundary_mean_px"]
    assert (gap.low, gap.high) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_other_prices_alone_change_nothing(factor):
    one = box_results()
    prices = {name: factor * cost for name, cost in one.costs.items()}
    priced = replace(state_results(), costs={"confusions": [[0, 1, 4], [1, 0, 1], [1, 1, 0]]})
    confusions = [[factor * cost for cost in row] for row in priced.costs["confusions"]]
    for before, costs in ((one, prices), (priced, {"confusions": confusions}), (replace(one, costs=None), prices)):
        found = by_name(compare(before, replace(before, costs=costs)))["expected_cost"]
        assert found.one == found.other > 0 and found.verdict == "within noise"
        assert (
            found.other
            == by_name(compare(replace(before, costs=costs), replace(before, costs=costs)))["expected_cost"].other
        )


def test_only_common_images_count():
    one, other = mask_results(count=12), mask_results(count=8)
    changed = [{**other.images[0], "sha256": "another"}, *other.images[1:]]
    found = compare(one, replace(other, images=list(reversed(changed))))
    assert (found.images, found.only_one, found.only_other) == (7, 5, 1)
    assert not found.same_images
    assert by_name(found)["miou"].difference == 0.0
    nothing = compare(one, replace(other, images=[changed[0]]))
    assert nothing.differences == [] and nothing.remark == "no image in common"


def test_few_common_groups_give_no_interval():
    found = compare(mask_results(count=8), mask_results(count=8, error=0.1))
    assert {(each.low, each.high, each.reason, each.verdict) for each in found.differences} == {
        (None, None, "few_groups", "undefined")
    }
    assert "few groups" in text("a", "b", [found]) and "few groups" in markdown("a", "b", [found])


def test_other_answers_without_a_difference_are_not_certain():
    one = state_results()
    images = [{**image, "probabilities": [0.9 * p + 0.1 / 3 for p in image["probabilities"]]} for image in one.images]
    found = by_name(compare(one, replace(one, images=images)))["accuracy"]
    assert found.difference == 0.0 and found.low < -0.1 and found.high > 0.1


def test_other_labels_are_counted():
    one, other = state_results(), state_results()
    other.images[3]["truth"] = 1
    assert compare(one, other).relabelled == 1
    boxes = box_results()
    boxes.images[0]["truth"]["labels"] = [1, 0]
    assert compare(box_results(), boxes).relabelled == 1
    masks = mask_results()
    masks.images[0]["pixels"][0] += 1
    assert compare(mask_results(), masks).relabelled == 1


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"trained": False, "images": []}, "trained in the first only"),
        ({"classes": [*reversed(BOXES)]}, "other classes: lid, stirrer; stirrer, lid"),
    ],
)
def test_incomparable_results_have_a_reason(change, remark):
    results = box_results()
    found = compare(results, replace(results, **change))
    assert found.remark == remark and found.differences == []


def test_to_json_is_plain():
    found = to_json(compare(state_results(), state_results(right=0.5)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["figures"]["accuracy"].keys() == {"one", "other", "difference", "low", "high", "reason", "verdict"}
