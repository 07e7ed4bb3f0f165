import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.core.order import find_order

ONIONS = ["browned", "burnt", "golden", "raw", "translucent"]


@pytest.mark.parametrize(
    ("order", "labels", "expected"),
    [
        ("auto", ONIONS, ("raw", "translucent", "golden", "browned", "burnt")),
        ("auto", ["burnt", "raw"], ("raw", "burnt")),
        ("auto", ["10_over", "1_raw", "2 golden"], ("1_raw", "2 golden", "10_over")),
        ("auto", ["1_raw", "1_golden"], None),
        ("auto", ["1_raw", "golden"], None),
        ("auto", ["fresh", "frozen"], None),
        (None, ONIONS, None),
        ([], ONIONS, None),
        (["b", "a"], ["a", "b"], ("b", "a")),
        (["b", "a"], [], None),
    ],
)
def test_find_order(order, labels, expected):
    assert find_order(order, labels) == expected


@pytest.mark.parametrize("order", [["a"], ["a", "b", "c"], ["a", "c"], ["a", "b", "b"]])
def test_find_order_refuses_other_labels(order):
    with pytest.raises(
        ValueError, match=r"the class labels are \['a', 'b'\]; name each of them once, or set it to auto"
    ):
        find_order(order, ["a", "b"])


@given(st.lists(st.text(), unique=True))
def test_find_order_auto_names_each_label_once_or_none(labels):
    assert sorted(find_order("auto", labels) or labels) == sorted(labels)
