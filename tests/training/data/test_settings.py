"""The `augment` section: one value, or one for each dataset."""

import re

import pytest

from panvision.config import Config
from panvision.core.params import ParamsError
from panvision.core.tasks import DATASETS
from panvision.training.data.settings import AugmentSettings

EACH = {"segmentation": 0.5, "detection": 0.25, "classification": 0.0}


def test_a_value_for_each_dataset_is_taken_by_that_dataset():
    settings = AugmentSettings.parse({"vertical_flip": EACH, "hue": 0.1})
    for dataset in DATASETS:
        expected = AugmentSettings(vertical_flip=EACH[dataset], hue=0.1)
        assert settings.of(dataset) == expected and settings.of(dataset).of("detection") == expected


@pytest.mark.parametrize("name", AugmentSettings.model_fields)
def test_every_value_may_be_one_for_each_dataset(name):
    settings = AugmentSettings.parse({name: {"segmentation": 0, "detection": 0.25, "classification": 0}})
    assert [getattr(settings.of(dataset), name) for dataset in DATASETS] == [0.0, 0.25, 0.0]


@pytest.mark.filterwarnings("error")
def test_values_for_each_dataset_travel_with_a_model():
    config = Config.parse({"augment": {"vertical_flip": EACH}})
    assert Config.parse(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"segmentation": 0.5, "detection": 0.5}, "no value for classification; give one value, or one for each of"),
        ({}, "no value for segmentation, detection, classification; give one value"),
        ({**EACH, "detction": 0.5}, "unknown detction; expected one value, or one for each of segmentation, "),
        ({**EACH, "a\n" * 99: 0.5}, "unknown 'a\\na"),
        ({**EACH, "detection": 1.5}, "Input should be less than or equal to 1, found 1.5"),
        ({**EACH, "detection": True}, "Input should be a valid number, found True"),
        ({**EACH, "detection": EACH}, "Input should be a valid number, found {"),
    ],
)
def test_a_mapping_that_does_not_fit_is_one_line(value, message):
    with pytest.raises(ParamsError, match=f"^augment.vertical_flip: {re.escape(message)}") as raised:
        AugmentSettings.parse({"vertical_flip": value}, "augment")
    assert str(raised.value).isprintable() and len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["mosaic", "mixup"])
def test_transforms_of_boxes_are_refused_elsewhere(name):
    message = f"^augment.{name}: acts on detection alone; set segmentation to 0$"
    with pytest.raises(ParamsError, match=message):
        AugmentSettings.parse({name: EACH}, "augment")


def test_an_unknown_transform_is_one_line():
    with pytest.raises(ParamsError, match=r"^augment.mosiac: unknown key; did you mean augment.mosaic\?$"):
        AugmentSettings.parse({"mosiac": 0.5}, "augment")
