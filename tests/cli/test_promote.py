import json
import shutil

import pytest

from panvision.cli.exits import Exit
from panvision.cli.main import main
from panvision.core.tasks import TASKS
from tests.cli.shown import json_keys


def promote(capsys, *arguments):
    """Return the exit code, standard output and standard error."""
    code = main(["promote", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def other(raw, trained, tmp_path_factory):
    """The same datasets without the images that the model was trained on, and with a model that lost its weights."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(trained, folder / "trained")
    return folder / "trained"


def test_a_model_against_itself_is_recorded(raw, trained, tmp_path, capsys):
    model, record = trained / "best_model.pth", tmp_path / "record.json"
    arguments = (model, "--against", model, "--data", raw, "--max_drop", "1")
    code, out, err = promote(capsys, *arguments, "--json", "--record", record)
    found = json.loads(out)
    assert found == json.loads(record.read_text()) and set(found) == json_keys("promote") - _WORDS
    # Fewer than ten groups give no interval, so even a model against itself is undecided.
    assert (code, found["decision"]) == (Exit.ERROR, "undecided")
    assert found["new"] == found["current"] and len(found["new"]["sha256"]) == 64
    assert found["new"]["training_images_known"] and "warning" not in err.replace("warning ", "")
    assert set(found["tasks"]) == set(TASKS) and found["data"]["images"] == "test"


_WORDS = {"and", "progress", "goes", "to", "standard", "error"}
