"""Settings that do not go together."""

import pytest

from panvision.core.params import ParamsError
from panvision.training.settings import TrainSettings


@pytest.mark.parametrize(("devices", "share"), [(1, 6), (2, 3), (6, 1)])
def test_devices_share_a_batch_evenly(devices, share):
    assert TrainSettings(batch_size=6).share(devices) == share


def test_a_batch_that_cannot_be_shared_names_the_next_sizes():
    with pytest.raises(ParamsError, match=r"train.batch_size: 4 devices .* 6 images per task evenly; set it to 4 or 8"):
        TrainSettings(batch_size=6).share(4)


@pytest.mark.parametrize(
    ("compiled", "devices", "batch_norm", "refused"),
    [(True, 2, "train", True), (True, 1, "train", False), (True, 2, "frozen", False), (False, 2, "train", False)],
)
def test_shared_batch_norm_is_not_compiled(compiled, devices, batch_norm, refused):
    train = TrainSettings(batch_size=2, compile=compiled, batch_norm=batch_norm)
    if not refused:
        assert train.share(devices) == 2 // devices
        return
    with pytest.raises(ParamsError, match=r"train.compile: 2 devices .* set train.compile to false"):
        train.share(devices)
