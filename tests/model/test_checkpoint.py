import io
from pathlib import Path

import numpy as np
import pytest
import torch

from panvision.model.checkpoint import FORMAT, VERSION, CheckpointError, load_checkpoint, save_checkpoint
from tests.model.hostile import KINDS, write_hostile
from tests.model.small import SUBSETS, pictures, small_model

META = {"epoch": 3, "score": 0.5, "names": ["a", "b"], "nested": {"on": True, "nothing": None}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "best_model.pth"
    save_checkpoint(path, small_model(), meta=META)
    return path


def altered(saved, tmp_path, change):
    """A copy of the checkpoint whose document a function has changed."""
    document = torch.load(saved, weights_only=True)
    change(document)
    path = tmp_path / "altered.pth"
    torch.save(document, path)
    return path


def test_round_trip(saved):
    model, metadata = load_checkpoint(saved)
    original = small_model().eval()
    assert not model.training
    with torch.inference_mode():
        got, wanted = model(pictures()), original(pictures())
    assert torch.equal(got["segmentation"], wanted["segmentation"])
    assert torch.equal(got["classification"], wanted["classification"])
    assert all(map(torch.equal, got["detection"].ltrb, wanted["detection"].ltrb))
    assert model.settings == original.settings and model.image_size == 64
    assert model.det_classes == ["lid", "pot"] and model.cls_classes == ["a", "b", "c"]
    assert metadata.items() >= META.items()
    assert metadata["num_det_classes"] == 2 and metadata["num_cls_classes"] == 3


def test_same_model_has_the_same_bytes_in_any_memory_format(saved, tmp_path):
    model = small_model().to(memory_format=torch.channels_last)
    model.backbone.freeze(weights=True, batch_norm=True)
    path = tmp_path / "deeper" / "another_name.pth"
    save_checkpoint(path, model, meta=META)
    assert path.read_bytes() == saved.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_other_weights_other_bytes(saved, tmp_path):
    model = small_model()
    with torch.no_grad():
        model.detection.scales[0] += 1e-6
    save_checkpoint(tmp_path / "a.pth", model, meta=META)
    assert (tmp_path / "a.pth").read_bytes() != saved.read_bytes()


def test_metadata_cannot_misdescribe_the_model(tmp_path):
    save_checkpoint(tmp_path / "a.pth", small_model(), meta={"image_size": 999, "det_class_names": []})
    model, metadata = load_checkpoint(tmp_path / "a.pth")
    assert model.image_size == metadata["image_size"] == 64 and metadata["det_class_names"] == ["lid", "pot"]


def test_numbers_of_numpy_become_plain(tmp_path):
    save_checkpoint(tmp_path / "a.pth", small_model(), meta={"score": np.float64(0.5), "pair": (1, 2)})
    metadata = load_checkpoint(tmp_path / "a.pth")[1]
    assert type(metadata["score"]) is float and metadata["pair"] == [1, 2]


@pytest.mark.parametrize("value", [Path("a"), {1, 2}, torch.zeros(1), np.zeros(2), object()])
def test_unloadable_metadata_is_refused_and_the_old_file_stays(saved, tmp_path, value):
    path = tmp_path / "best_model.pth"
    path.write_bytes(saved.read_bytes())
    with pytest.raises(TypeError):
        save_checkpoint(path, small_model(), meta={"x": value})
    assert path.read_bytes() == saved.read_bytes() and len(list(tmp_path.iterdir())) == 1


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pth: no such checkpoint$"):
        load_checkpoint(tmp_path / "none.pth")


def test_a_folder_is_not_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x80\x02}q\x00.", b"not a checkpoint\n" * 100])
def test_foreign_bytes(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pth: not a") as caught:
        load_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_truncated(saved, tmp_path, share):
    content = saved.read_bytes()
    path = tmp_path / "a.pth"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"a\.pth: not a readable checkpoint"):
        load_checkpoint(path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("archive", [True, False])
def test_damage_never_raises_anything_else(tmp_path, archive):
    stream = io.BytesIO()
    document = {"format": FORMAT, "version": VERSION, "state_dict": {"a": torch.ones(3)}, "metadata": META}
    torch.save(document, stream, _use_new_zipfile_serialization=archive)
    path = tmp_path / "a.pth"
    chance = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(stream.getvalue())
        for place in chance.integers(0, len(damaged), chance.integers(1, 5)):
            damaged[place] = chance.integers(256)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError) as caught:  # undamaged, it still describes no model
            load_checkpoint(path)
        assert "weights_only" not in str(caught.value)


def test_a_foreign_state_dict_is_not_a_panvision_checkpoint(tmp_path):
    path = tmp_path / "a.pth"
    for document in (torch.nn.Linear(2, 2).state_dict(), torch.nn.Linear(2, 2), {"model": torch.zeros(2)}):
        torch.save(document, path)
        with pytest.raises(CheckpointError, match=r"a\.pth: not a panvision checkpoint.*; train one with `dvc repro`"):
            load_checkpoint(path)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_checkpoint_is_executed(tmp_path, kind):
    mark = tmp_path / "executed"
    path = write_hostile(tmp_path / "a.pth", mark, kind)
    with pytest.raises(CheckpointError, match=r"a\.pth: not a (readable|panvision) checkpoint"):
        load_checkpoint(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "document",
    [{}, [], torch.zeros(2), {"model": {}}, {"format": "other"}, {"state_dict": {"conv1.weight": torch.zeros(1)}}],
)
def test_other_peoples_files(tmp_path, document):
    torch.save(document, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: not a panvision checkpoint; train one"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("version", [VERSION + 1, 2, 1, 0, None, "1"])
def test_other_versions(saved, tmp_path, version):
    path = altered(saved, tmp_path, lambda document: document.update(version=version))
    with pytest.raises(
        CheckpointError, match=rf"checkpoint format {version!r}, but this panvision reads {VERSION}; train again"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("metadata"),
        lambda document: document.pop("state_dict"),
        lambda document: document.update(metadata=[1]),
        lambda document: document.update(metadata=None),
        lambda document: document.update(state_dict=[1]),
        lambda document: document["metadata"].pop("model"),
        lambda document: document["metadata"].update(model=3),
        lambda document: document["metadata"].update(image_size="64"),
        lambda document: document["metadata"].update(det_class_names=3),
        lambda document: document["metadata"].update(cls_class_names=["a"]),
        lambda document: document["metadata"]["model"].update(backbone="vgg"),
        lambda document: document["metadata"]["model"].update(fpn_channels=64),
        lambda document: document["metadata"]["model"].update(new_option=1),
        lambda document: document["metadata"]["det_class_names"].append("x"),
        lambda document: document["state_dict"].pop("detection.scales"),
        lambda document: document["state_dict"].update(stray=torch.zeros(1)),
        lambda document: document["state_dict"].update({"detection.scales": "x"}),
    ],
)
def test_contradictions_are_one_clear_error(saved, tmp_path, change):
    with pytest.raises(CheckpointError, match=r"altered\.pth: its weights do not fit the model that it describes"):
        load_checkpoint(altered(saved, tmp_path, change))


def test_format_is_named_in_the_file(saved):
    document = torch.load(saved, weights_only=True)
    assert document["format"] == FORMAT == "panvision" and document["version"] == VERSION == 3
    assert set(document) == {"format", "version", "state_dict", "metadata"}
    assert all(value.device.type == "cpu" for value in document["state_dict"].values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tasks", SUBSETS)
def test_a_checkpoint_says_which_tasks_its_model_has(tmp_path, tasks):
    save_checkpoint(tmp_path / "a.pth", small_model(tasks=tasks))
    model, metadata = load_checkpoint(tmp_path / "a.pth")
    assert tuple(metadata["tasks"]) == model.tasks == tasks
    assert metadata["num_det_classes"] == (2 if "detection" in tasks else 0)
    assert model.state_dict().keys() == small_model(tasks=tasks).state_dict().keys()


def test_a_checkpoint_that_names_no_tasks_has_all_three(saved, tmp_path):
    path = altered(saved, tmp_path, lambda document: document["metadata"].pop("tasks"))
    assert load_checkpoint(path)[0].tasks == ("segmentation", "detection", "classification")


@pytest.mark.parametrize("tasks", [[], ["boxes"], "detection", 3, None, ["detection"]])
def test_tasks_that_do_not_fit_are_refused(saved, tmp_path, tasks):
    path = altered(saved, tmp_path, lambda document: document["metadata"].update(tasks=tasks))
    with pytest.raises(CheckpointError, match=r"altered\.pth: its weights do not fit"):
        load_checkpoint(path)
