"""Settings that do not go together."""

import pytest

from panvision.core.params import ParamsError
from panvision.training.settings import TrainSettings


@pytest.mark.parametrize("devices", [1, 2, 3, 6])
def test_devices_may_share_a_batch_evenly(devices):
    TrainSettings(batch_size=6).check_devices(devices)


def test_batch_norm_of_random_weights_is_not_frozen():
    TrainSettings(batch_norm="train").check_weights("none")
    TrainSettings(batch_norm="frozen").check_weights("imagenet")
    with pytest.raises(
        ParamsError, match=r"train.batch_norm: .* but model.weights is none; set train.batch_norm to train"
    ):
        TrainSettings(batch_norm="frozen").check_weights("none")


def test_a_batch_that_cannot_be_shared_names_the_next_sizes():
    with pytest.raises(ParamsError, match=r"train.batch_size: 4 devices .* 6 images per task evenly; set it to 4 or 8"):
        TrainSettings(batch_size=6).check_devices(4)


@pytest.mark.parametrize(
    ("compiled", "devices", "batch_norm"), [(True, 1, "train"), (True, 2, "frozen"), (False, 2, "train")]
)
def test_batch_norm_of_one_device_or_frozen_may_be_compiled(compiled, devices, batch_norm):
    TrainSettings(batch_size=2, compile=compiled, batch_norm=batch_norm).check_devices(devices)


@pytest.mark.parametrize(("batch_norm", "head_norm"), [("train", "group"), ("frozen", "batch")])
def test_shared_batch_norm_is_not_compiled(batch_norm, head_norm):
    train = TrainSettings(batch_size=2, compile=True, batch_norm=batch_norm)
    with pytest.raises(ParamsError, match=r"train.compile: 2 devices .* set train.compile to false"):
        train.check_devices(2, head_norm)
