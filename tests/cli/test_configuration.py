import pytest

from panvision.cli.configuration import pins_of, read_configuration
from panvision.cli.framework import Args
from panvision.config import Config
from panvision.core.params import ParamsError
from panvision.dataset.problems import IngestError

PIN = {("detection", "images/a.png"): "test"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a pins file of another name than the default one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("task,file,split\ndetection,images/a.png,test\n")
    return tmp_path


def arguments(config=None, *settings) -> Args:
    return Args(config=config, set=settings, data_root="photos", data_root_option=None)


def pins(config=None, *settings):
    args = arguments(config, *settings)
    return pins_of(args, read_configuration(args))


def usual_pins(folder) -> None:
    (folder / "data").mkdir()
    (folder / "mine.csv").rename(folder / "data/pins.csv")


def test_file_and_options_make_the_configuration(folder) -> None:
    (folder / "params.yaml").write_text("data:\n  image_size: 64\n  root: elsewhere\nsplit:\n  seed: 3\n")
    config = read_configuration(arguments("params.yaml", "split.seed=5", "split.method=balanced"))
    assert (config.data.root, config.data.image_size, config.split.seed) == ("photos", 64, 5)
    assert read_configuration(arguments()) == Config().model_copy(update={"data": config.data.model_copy(
        update={"image_size": 256})})  # fmt: skip
    Config(seed=9).save("saved.json")
    assert read_configuration(arguments("saved.json")).seed == 9


def test_errors_are_listed(folder) -> None:
    with pytest.raises(ParamsError, match=r"split\.sead: unknown key"):
        read_configuration(arguments(None, "split.sead=1"))
    with pytest.raises(ParamsError, match=r"none\.yaml: no such file"):
        read_configuration(arguments("none.yaml"))


def test_named_pins_are_read() -> None:
    assert pins(None, "split.pins=mine.csv") == PIN


def test_pins_of_a_pipeline_are_not_read_unasked(folder) -> None:
    usual_pins(folder)
    assert pins() == {}
    (folder / "params.yaml").write_text("split:\n  pins: data/pins.csv\n")
    assert pins("params.yaml") == PIN


def test_a_saved_configuration_needs_no_pipeline(folder) -> None:
    Config().save("saved.json")
    assert pins("saved.json") == {}
    usual_pins(folder)
    assert pins("saved.json") == PIN


def test_a_training_without_pins_is_evaluated_without_them(folder) -> None:
    """Pins of a pipeline in the working directory would make training images test images."""
    usual_pins(folder)
    Config().with_pins({}).save("saved.json")
    assert pins("saved.json") == {}
    Config().with_pins(PIN).save("saved.json")
    assert pins("saved.json") == PIN


@pytest.mark.parametrize("name", ["other.csv", "data/pins.csv"])
def test_missing_named_pins_are_an_error(name) -> None:
    with pytest.raises(IngestError, match="missing"):
        pins(None, f"split.pins={name}")


def test_missing_pins_of_a_configuration_are_an_error(folder) -> None:
    (folder / "params.yaml").write_text("split:\n  pins: other.csv\n")
    with pytest.raises(IngestError, match=r"other\.csv: missing"):
        pins("params.yaml")
