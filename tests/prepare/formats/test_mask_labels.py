"""Files that name the labels in masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.prepare.formats.mask_labels import read_table
from tests.prepare.raw_sets import check, codes, load, pack, save, segmentation_set

COLOURS = {"background": (0, 0, 0), "hob": (250, 250, 55), "pan": (36, 100, 50), "spoon": (51, 221, 235)}
# Places of hob, pan and spoon in the mask.
AREAS = {1: (0, 0, 10, 5), 2: (10, 5, 30, 25), 3: (32, 26, 40, 30)}
PAN = 400 / 1200


def numbers(void=False):
    mask = np.zeros((30, 40), np.uint8)
    for number, (left, top, right, bottom) in AREAS.items():
        mask[top:bottom, left:right] = number
    if void:
        mask[4, :] = 255
    return mask


def as_colours(mask):
    return Image.fromarray(np.array([*COLOURS.values()], np.uint8)[mask])


def as_palette(mask):
    image = Image.fromarray(mask).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([value for colour in COLOURS.values() for value in colour])
    return image


def masks(root, image):
    folder = segmentation_set(root, count=3)
    for path in (folder / "masks").iterdir():
        save(path, image)
    return folder


FILES = {
    "labelmap.txt": "# label:color_rgb:parts:actions\n" + "".join(
        f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in COLOURS.items()
    ),
    "label_colors.txt": "".join(f"{red} {green} {blue} {name}\n" for name, (red, green, blue) in COLOURS.items()),
    "class_dict.csv": "name,r,g,b\n" + "".join(
        f"{name},{red},{green},{blue}\n" for name, (red, green, blue) in COLOURS.items()
    ),
    "obj_class_to_machine_color.json": str({name: [*colour] for name, colour in COLOURS.items()}).replace("'", '"'),
    "_classes.csv": "Pixel Value, Class\n 0, background\n 1, hob\n 2, pan\n 3, spoon\n",
    "class_names.txt": "_background_\nhob\npan\nspoon\n",
    "labels.txt": "__ignore__\n_background_\nhob\npan\nspoon\n",
    "id2label.json": '{"0": "background", "1": "hob", "2": "pan", "3": "spoon"}',
    "dataset.json": '{"labels": {"background": 0, "hob": 1, "pan": 2, "spoon": 3}, "numTraining": 3}',
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_read_table_says_which_label_is_the_pan(tmp_path, name):
    by_colour = ("255" not in FILES[name]) and any(kind in name for kind in ("map", "color", "dict"))
    for kind in ("colours", "palette") if by_colour else ("numbers", "palette"):
        image = {"colours": as_colours, "palette": as_palette, "numbers": Image.fromarray}[kind](numbers())
        folder = masks(tmp_path / kind, image)
        (folder / name).write_text(FILES[name])
        _, loaded = load(tmp_path / kind, "segmentation", pan_classes=("pan",))
        assert [one.facts.pan_fraction for one in loaded] == pytest.approx([PAN] * 3, abs=1e-6)
        assert check(tmp_path / kind, "segmentation", pan_classes=("pan",)).problems == []
        (found,) = check(tmp_path / kind, "segmentation").problems
        assert found.code == "pan_unclear" and all(word in found.reason for word in ("hob", "pan (3 masks)", "spoon"))


def test_a_single_named_label_is_the_pan(tmp_path):
    """Named 2 of 1 to 2: the background is 1, so a rule without the names would mark everything."""
    folder = masks(tmp_path, Image.fromarray((numbers() == 2) + np.uint8(1)))
    (folder / "_classes.csv").write_text("Pixel Value, Class\n1, background\n2, pan\n")
    assert check(tmp_path, "segmentation").problems == []
    assert load(tmp_path, "segmentation")[1][0].facts.pan_fraction == pytest.approx(PAN, abs=1e-6)


def test_masks_by_a_table_are_stored_as_understood(tmp_path):
    """Evaluation knows no table; it reads the stored mask."""
    masks(tmp_path, Image.fromarray(numbers()))
    pack(tmp_path, "segmentation", pan_classes=(2,))
    with Image.open(tmp_path / "prepared/segmentation/drawn/000000.png") as drawn:
        assert (np.array(drawn) == (numbers() == 2) * 255).all()


@pytest.mark.parametrize("form", [Image.fromarray, as_palette, as_colours])
def test_labels_without_names_are_called_by_their_values(tmp_path, form):
    masks(tmp_path, form(numbers()))
    (found,) = check(tmp_path, "segmentation").problems
    value = "36,100,50" if form is as_colours else "2"
    assert found.code == "pan_unclear" and f"{value} (3 masks)" in found.reason
    assert check(tmp_path, "segmentation", pan_classes=(value,)).problems == []
    _, loaded = load(tmp_path, "segmentation", pan_classes=(value,))
    assert loaded[0].facts.pan_fraction == pytest.approx(PAN, abs=1e-6)
    # All of them together.
    assert codes(check(tmp_path, "segmentation", pan_classes="all")) in (["mask_not_binary"] * 3, [])
    _, loaded = load(tmp_path, "segmentation", pan_classes="all")
    assert loaded[0].facts.pan_fraction == pytest.approx((numbers() > 0).mean(), abs=1e-6)


def test_a_class_that_no_mask_has(tmp_path):
    masks(tmp_path, Image.fromarray(numbers()))
    (found,) = check(tmp_path, "segmentation", pan_classes=(2, 7)).problems
    assert found.code == "pan_unknown" and "names 7" in found.reason and "2 (3 masks)" in found.reason


def test_values_that_the_file_does_not_name(tmp_path):
    folder = masks(tmp_path, Image.fromarray(numbers()))
    (folder / "class_names.txt").write_text("_background_\nhob\npan\n")
    (found,) = check(tmp_path, "segmentation").problems
    assert found.code == "pan_unclear" and "without a name: 3 (3 masks)" in found.reason


def test_a_jpeg_mask_has_too_many_values_for_a_table(tmp_path):
    folder = segmentation_set(tmp_path, count=3)
    for path in (folder / "masks").iterdir():
        path.unlink()
        save(path.with_suffix(".jpg"), as_colours(numbers()), quality=30)
    (folder / "labelmap.txt").write_text(FILES["labelmap.txt"])
    (found,) = check(tmp_path, "segmentation").problems
    assert found.code == "pan_unclear" and "without a name" in found.reason


LINES = st.lists(
    st.sampled_from([*"\n\t :,{}[]\"'#", "0", "9" * 5000, "255", "pan", "labels", "__ignore__", "\0", "²"])
)


@given(name=st.sampled_from(sorted(FILES)), content=LINES.map("".join) | st.text())
@settings(max_examples=150, deadline=None)
def test_any_content_of_a_label_file_is_read_or_passed_over(tmp_path_factory, name, content):
    root = tmp_path_factory.mktemp("labels")
    (root / name).write_text(content, encoding="utf-8", errors="surrogatepass")
    table, problems = read_table([root], root, None)
    assert {found.code for found in problems} <= {"annotations_broken"}
    assert table is None or all(isinstance(key, (int, tuple)) for key in table.names)
