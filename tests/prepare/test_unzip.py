"""ZIPs as Roboflow and other tools deliver them, and hostile ones."""

import stat
import zipfile

import pytest

from panvision.core.tasks import TASKS
from panvision.dataset.problems import IngestError
from panvision.prepare import unzip
from panvision.prepare.unzip import unpack_datasets
from tests.prepare.raw_sets import all_sets, classification_set, detection_set, segmentation_set

MAKERS = {"segmentation": segmentation_set, "detection": detection_set, "classification": classification_set}


def packed(tmp_path, folder, prefix=""):
    """A ZIP with a folder's contents below `prefix`."""
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, f"{prefix}{path.relative_to(folder).as_posix()}")
        opened.writestr("__MACOSX/._x", "litter")
    return archive


def unpack(archive, tmp_path, tasks=tuple(TASKS)):
    target = tmp_path / "unpacked"
    target.mkdir()
    return unpack_datasets(archive, target, tasks)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("prefix", ["", "export/", "a/b/"])
def test_unpack_datasets_of_three(tmp_path, prefix):
    all_sets(tmp_path / "sets")
    root = unpack(packed(tmp_path, tmp_path / "sets", prefix), tmp_path)
    assert files(root) == files(tmp_path / "sets")


@pytest.mark.parametrize("prefix", ["", "export/"])
@pytest.mark.parametrize("task", MAKERS)
def test_unpack_datasets_of_one_finds_out_which(tmp_path, task, prefix):
    """Roboflow's ZIP has train, valid and test at its top."""
    (tmp_path / "roboflow").mkdir()
    MAKERS[task](tmp_path / "sets").rename(tmp_path / "roboflow/train")
    root = unpack(packed(tmp_path, tmp_path / "roboflow", prefix), tmp_path)
    assert [path.name for path in root.iterdir()] == [task]
    assert files(root / task) == files(tmp_path / "roboflow")


def test_unpack_datasets_tasks_say_what_it_is(tmp_path):
    """Boxes around outlines, or outlines of the pan: only the user knows."""
    detection_set(tmp_path / "sets")
    root = unpack(packed(tmp_path, tmp_path / "sets/detection"), tmp_path, ("segmentation",))
    assert [path.name for path in root.iterdir()] == ["segmentation"]


def hostile(tmp_path, name, *, mode=0, content=b"x", twice=False):
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for _ in range(1 + twice):
            member = zipfile.ZipInfo("plain")
            member.filename, member.external_attr = name, mode << 16
            opened.writestr(member, content)
    return archive


@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "ROOT/a.jpg", "..\\a.jpg", "C:\\a.jpg", "a/../../../b"])
def test_unpack_datasets_refuses_names_outside(tmp_path, name):
    with pytest.raises(IngestError, match="leads out of the folder"):
        unpack(hostile(tmp_path, name.replace("ROOT", str(tmp_path))), tmp_path)
    assert files(tmp_path) == ["export.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_unpack_datasets_refuses_links_and_devices(tmp_path, kind):
    with pytest.raises(IngestError, match="a link or a device"):
        unpack(hostile(tmp_path, "images", mode=kind | 0o777, content=b"/etc"), tmp_path)
    assert files(tmp_path) == ["export.zip"]


def test_unpack_datasets_refuses_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(unzip, "MOST_BYTES", 100)
    with pytest.raises(IngestError, match=r"holds 1 files of .* GiB, at most"):
        unpack(hostile(tmp_path, "a.bmp", content=bytes(101)), tmp_path)


def test_unpack_datasets_a_size_that_is_not_true(tmp_path):
    """A member that states 10 bytes does not unpack to more."""
    archive = hostile(tmp_path, "a.bmp", content=bytes(1000))
    content = archive.read_bytes()
    archive.write_bytes(content.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(IngestError, match="cannot be unpacked"):
        unpack(archive, tmp_path)
    assert all(path.stat().st_size <= 10 for path in (tmp_path / "unpacked").rglob("*.bmp"))


def test_unpack_datasets_two_members_of_one_name(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = hostile(tmp_path, "a.jpg", twice=True)
    with pytest.raises(IngestError, match=r"cannot be unpacked.*a\.jpg"):
        unpack(archive, tmp_path)


def test_unpack_datasets_a_password_and_no_zip(tmp_path):
    archive = hostile(tmp_path, "a.jpg")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(IngestError, match="has a password"):
        unpack(archive, tmp_path)
    archive.write_bytes(b"PK\x03\x04 no")
    with pytest.raises(IngestError, match="cannot be unpacked"):
        unpack_datasets(archive, tmp_path, tuple(TASKS))
