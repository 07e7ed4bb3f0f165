import numpy as np
import pytest

from panvision.core.tasks import TASKS
from panvision.dataset.packed import PackedError
from panvision.export.errors import ExportError
from panvision.export.images import calibration_images, parity_images
from tests.tiny import SIZE


class TestComparison:
    def chosen(self, packed, count: int) -> list[int]:
        images = parity_images(packed.prepared, packed.splits, count=count, image_size=SIZE)
        assert images.shape == (len(images), SIZE, SIZE, 3)
        assert images.dtype == np.uint8
        return images[:, 0, 0, 0].tolist()

    def test_parity_images_alternate(self, packed) -> None:
        assert self.chosen(packed, 100) == [2, 82, 162, 5, 85, 165]
        assert self.chosen(packed, 4) == [2, 82, 162, 5]
        assert self.chosen(packed, 1) == [2]

    def test_parity_images_of_unequal_datasets(self, packed) -> None:
        packed.add("detection", ["train"])
        packed.add("classification", ["test"] * 3)
        assert self.chosen(packed, 100) == [2, 160, 5, 161, 162]

    def test_without_test_pictures_others_are_taken(self, packed) -> None:
        for task in TASKS:
            packed.add(task, ["train", "val"])
        assert self.chosen(packed, 100) == [1, 81, 161]
        for task in TASKS:
            packed.add(task, ["train"])
        assert self.chosen(packed, 100) == [0, 80, 160]

    def test_no_picture_at_all_is_an_error(self, packed) -> None:
        for task in TASKS:
            packed.add(task, [])
        with pytest.raises(ExportError, match="prepared: has no image"):
            self.chosen(packed, 1)

    def test_pictures_of_another_size_are_an_error(self, packed) -> None:
        packed.add("detection", ["test"], size=96)
        with pytest.raises(PackedError, match="detection: packed at 96 pixels, but the checkpoint takes 64"):
            self.chosen(packed, 1)


class TestCalibration:
    def chosen(self, packed, count: int, tasks=TASKS) -> list[int]:
        images = calibration_images(packed.prepared, packed.splits, count=count, image_size=SIZE, tasks=tasks)
        assert images.shape == (len(images), SIZE, SIZE, 3)
        assert images.dtype == np.uint8
        return images[:, 0, 0, 0].tolist()

    def test_calibration_images_alternate(self, packed) -> None:
        assert self.chosen(packed, 100) == [0, 80, 160, 3, 83, 163]
        assert self.chosen(packed, 4) == [0, 80, 160, 3]
        assert self.chosen(packed, 1) == [0]

    def test_calibration_images_are_spread(self, packed) -> None:
        packed.add("classification", ["train"] * 31)
        assert self.chosen(packed, 4, ("classification",)) == [160, 170, 180, 190]

    def test_only_sets_of_the_models_tasks_count(self, packed) -> None:
        assert self.chosen(packed, 100, ("detection",)) == [80, 83]
        packed.add("segmentation", ["test"])
        assert self.chosen(packed, 100, ("segmentation", "detection")) == [80, 83]

    def test_calibration_images_without_an_image(self, packed) -> None:
        packed.add("detection", ["val", "test"])
        with pytest.raises(ExportError, match=r"has no training image .* set export\.int8: false"):
            self.chosen(packed, 4, ("detection",))

    def test_pictures_of_another_size_are_an_error(self, packed) -> None:
        packed.add("detection", ["train"], size=96)
        with pytest.raises(PackedError, match="detection: packed at 96 pixels"):
            self.chosen(packed, 4)
