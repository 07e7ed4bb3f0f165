import hashlib
import json
import re
import shutil

import pytest

from panvision.cli.exits import Exit
from panvision.cli.main import main
from panvision.core.tasks import TASKS
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from panvision.scenes.demo import write_demo_sets
from panvision.scenes.settings import SceneSettings, SetSizes
from tests.cli.shown import json_keys
from tests.pipeline.scratch import Scratch


def promote(capsys, *arguments):
    """Return the exit code, standard output and standard error."""
    code = main(["promote", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """Datasets that no model was trained on."""
    root = tmp_path_factory.mktemp("unseen") / "demo"
    sizes = SetSizes(segmentation=5, detection=5, classification=10)
    write_demo_sets(root, SceneSettings(seed=8, width=96, height=96, images=sizes, units=2))
    return root


@pytest.fixture
def changed(trained, tmp_path):
    """The trained model with another bias of every head, which does not name its training images."""
    model, meta = load_checkpoint(trained / "best_model.pth")
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            value.data += 1.0
    meta = {**meta, "training_images": None, "data_sha256": "ab" * 32}
    save_checkpoint(tmp_path / "changed.pth", model, meta=meta)
    return tmp_path / "changed.pth"


def test_a_model_against_itself_is_not_worse_and_recorded(raw, trained, tmp_path, capsys):
    model, record = trained / "best_model.pth", tmp_path / "record.json"
    code, out, err = promote(
        capsys, model, "--against", model, "--data", raw, "--json", "--record", record, "--max_drop", 0
    )
    found = json.loads(out)
    assert (code, found["decision"], found["passed"]) == (Exit.DONE, "not worse", True)
    assert found == json.loads(record.read_text()) and set(found) <= json_keys("promote")
    assert found["new"] == found["current"] and len(found["new"]["sha256"]) == len(found["data"]["sha256"]) == 64
    assert found["new"]["training_images_known"] and "training images" not in err
    assert set(found["tasks"]) == set(TASKS) and found["data"]["images"] == "test" and found["registered"] is None


def test_training_images_are_an_error_and_unknown_ones_a_warning(raw, trained, changed, capsys):
    model = trained / "best_model.pth"
    code, out, err = promote(capsys, changed, "--against", model, "--data", raw, "--images", "all")
    assert code == Exit.USAGE and "undecided" not in out
    assert re.search(r"best_model\.pth: \d+ of the \d+ images to score are its training or validation images: ", err)
    assert f"warning: {changed}: does not name its training images" in err
    assert "export it again, unless it learned from more than 65,536 images" in err


def test_few_unseen_images_leave_two_models_undecided(unseen, trained, changed, capsys):
    model = trained / "best_model.pth"
    code, out, err = promote(capsys, changed, "--against", model, "--data", unseen, "--images", "all")
    assert code == Exit.ERROR and "\nundecided: too few images" in out
    lines = out.partition("\nundecided")[2].splitlines()
    assert max(map(len, lines)) <= 80 and "classification: 10 images in 10 groups" in lines
    assert err.count("warning: ") == 1


@pytest.mark.parametrize(
    "case", ["model", "data", pytest.param("repository", marks=pytest.mark.process), "record", "split", "max_drop"]
)
def test_bad_input_is_one_line_with_exit_code_2(raw, trained, tmp_path, capsys, case):
    model = tmp_path / "best_model.pth"
    shutil.copy(trained / "best_model.pth", model)
    known = trained / "best_model.pth"
    arguments = {
        "model": ([model, "--against", tmp_path / "no.onnx", "--data", raw], "no.onnx"),
        "data": ([model, "--against", model, "--data", tmp_path / "no"], "no such folder"),
        "repository": (
            [model, "--against", model, "--data", raw, "--register", "v1.0.0"],
            "register in a repository",
        ),
        "record": (
            [known, "--against", known, "--data", raw, "--record", model / "record.json"],
            "best_model.pth: file exists",
        ),
        # Without the configuration beside it, the split is another one.
        "split": ([model, "--against", model, "--data", raw], "its training or validation images"),
        "max_drop": ([model, "--against", model, "--data", raw, "--max_drop", "2"], "--max_drop"),
    }
    words, message = arguments[case]
    code, _, err = promote(capsys, *words)
    assert code == Exit.USAGE and message in err.splitlines()[-1]


def test_models_of_other_data_are_named(unseen, trained, changed, tmp_path, capsys):
    model, meta = load_checkpoint(trained / "best_model.pth")
    save_checkpoint(tmp_path / "other.pth", model, meta={**meta, "data_sha256": "cd" * 32})
    said = "note: the models were made from other data or another split"
    others = {tmp_path / "other.pth": True, changed: False, trained / "best_model.pth": False}
    for other, noted in others.items():
        _, _, err = promote(capsys, changed, "--against", other, "--data", unseen, "--images", "all")
        assert (said in err) is noted, other


@pytest.fixture
def repo(trained, tmp_path, monkeypatch) -> Scratch:
    """A repository with the trained model as an artifact, whose lock is committed."""
    repo = Scratch.empty(tmp_path)
    shutil.copytree(trained, repo.folder / "models", ignore=shutil.ignore_patterns("build", "curves"))
    path = "models/best_model.pth"
    md5 = hashlib.md5((repo.folder / path).read_bytes(), usedforsecurity=False).hexdigest()
    (repo.folder / "dvc.yaml").write_text(f"artifacts: {{pans: {{path: {path}, type: model}}}}\n")
    (repo.folder / "dvc.lock").write_text(f"stages: {{train: {{outs: [{{path: {path}, md5: {md5}}}]}}}}\n")
    repo.commit("first")
    repo.lend_identity(monkeypatch)
    return repo


@pytest.mark.process
def test_a_model_that_passed_is_registered_with_its_record(raw, changed, repo, unseen, capsys):
    model = repo.folder / "models/best_model.pth"
    code, out, _ = promote(capsys, model, "--against", model, "--data", raw, "--register", "v0.1.0")
    assert code == 0 and "registered: pans@v0.1.0; share it with `dvc push` and `git push origin pans@v0.1.0`" in out
    first, _, record = repo.run("git", "tag", "--list", "--format=%(contents)").partition("\n")
    assert first == f"not worse against {model}" and json.loads(record)["new"]["sha256"]
    undecided = ("--against", changed, "--data", unseen, "--images", "all", "--register", "v0.2.0")
    code, out, _ = promote(capsys, model, *undecided)
    assert code == 1 and out.endswith("\nnot registered\n") and repo.run("git", "tag") == "pans@v0.1.0\n"


@pytest.mark.process
@pytest.mark.parametrize("form", [["--json"], []])
def test_a_failure_of_git_loses_no_decision(raw, repo, tmp_path, capsys, form):
    model, record = repo.folder / "models/best_model.pth", tmp_path / "record.json"
    (repo.folder / ".git/refs/tags/pans@v0.1.0.lock").write_text("")
    words = ("--against", model, "--data", raw, "--register", "v0.1.0", "--record", record, *form)
    code, out, err = promote(capsys, model, *words)
    assert code == Exit.USAGE and re.search("`git tag --annotate pans@v0.1.0 .*` failed: ", err.splitlines()[-1])
    kept = json.loads(record.read_text())
    assert kept["decision"] == "not worse" and kept["registered"] is None
    assert json.loads(out) == kept if form else out.endswith("\nnot registered\n")
