import pytest

from panvision.cli.main import main
from panvision.scenes.demo import write_demo_sets
from panvision.scenes.settings import SceneSettings, SetSizes
from tests.cli.small import SMALL


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """Three raw datasets of ten images each."""
    root = tmp_path_factory.mktemp("raw") / "demo"
    sizes = SetSizes(segmentation=10, detection=10, classification=10)
    write_demo_sets(root, SceneSettings(width=96, height=96, images=sizes, units=2))
    return root


@pytest.fixture(scope="session")
def trained(raw, tmp_path_factory):
    """The folder that `panvision train` filled from `raw`."""
    folder = tmp_path_factory.mktemp("trained") / "checkpoints"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    assert main(["train", str(raw), "--checkpoint_dir", str(folder), *settings]) == 0
    return folder
