import importlib.metadata
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from panvision.training import fingerprint as module
from panvision.training.fingerprint import code_files, fingerprint
from tests.training.small import small_model, small_sets

CPU = torch.device("cpu")


def key(described=None, sets=None, model=None, start=None, device=CPU):
    sets = sets or small_sets()
    return fingerprint(described or {"seed": 1}, sets, model or small_model(sets), start=start, device=device)


def changed(sets, task, **fields):
    return replace(sets, packed={**sets.packed, task: replace(sets.packed[task], **fields)})


def test_equal_trainings_have_equal_fingerprints():
    assert key() == key() and len(key()) == 64


def test_settings_device_and_first_weights_count(tmp_path):
    other = small_model(small_sets(), seed=1)
    (tmp_path / "a.pth").write_bytes(b"one")
    keys = [key(), key({"seed": 2}), key(model=other), key(device=torch.device("meta")), key(start=tmp_path / "a.pth")]
    (tmp_path / "a.pth").write_bytes(b"two")
    keys.append(key(start=tmp_path / "a.pth"))
    assert len(set(keys)) == len(keys)


def test_every_pixel_label_and_split_counts():
    sets = small_sets()
    keys = {key(sets=sets)}
    pixels = sets.packed["classification"].images.copy()
    pixels[-1, -1, -1, -1] ^= 1
    masks = sets.packed["segmentation"].masks.copy()
    masks[0, 0, 0] ^= 1
    boxes = [own.copy() for own in sets.packed["detection"].boxes]
    boxes[-1][0, 0] += 1
    rows = {task: dict(own) for task, own in sets.rows.items()}
    rows["detection"]["val"] = rows["detection"]["val"][:-1]
    for other in (
        changed(sets, "classification", images=pixels),
        changed(sets, "classification", states=1 - sets.packed["classification"].states),
        changed(sets, "segmentation", masks=masks),
        changed(sets, "detection", boxes=boxes),
        changed(sets, "detection", labels=[own + 1 for own in sets.packed["detection"].labels]),
        changed(sets, "detection", classes=["b", "a"]),
        changed(sets, "detection", crowds=sets.packed["detection"].boxes),
        replace(sets, rows=rows),
    ):
        keys.add(key(sets=other))
    assert len(keys) == 9


def test_how_arrays_lie_in_memory_does_not_count():
    sets = small_sets()
    turned = np.asfortranarray(sets.packed["segmentation"].images)
    assert key(sets=changed(sets, "segmentation", images=turned)) == key(sets=sets)


def test_code_that_training_imports_counts(tmp_path, monkeypatch):
    files = code_files()
    assert {
        "panvision.training.fit",
        "panvision.model.heads.detection",
        "panvision.training.data.stream",
        "panvision.core.params",
    } <= set(files)
    assert not [name for name in files if not name.startswith("panvision") and name != "__main__"]
    before = key()
    path = tmp_path / "more.py"
    path.write_text("a = 1")
    extra = types.ModuleType("panvision.more")
    extra.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "panvision.more", extra)
    with_it = key()
    path.write_text("a = 2")
    assert len({before, with_it, key()}) == 3


@pytest.mark.parametrize("library", module.LIBRARIES)
def test_versions_count(monkeypatch, library):
    before, version = key(), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1" if name == library else version(name))
    assert key() != before


def test_versions_of_other_packages_do_not_count(monkeypatch):
    before, version = key(), importlib.metadata.version
    others = ("sphinx", "dvc", "pytest")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1" if name in others else version(name))
    assert key() == before
