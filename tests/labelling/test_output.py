import zipfile

import pytest

from panvision.labelling.output import LEDGER, Output


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "labels"


def write(folder, path, content, put="write"):
    with Output(folder) as output:
        done = getattr(output, put)(path, content)
        return done, output.kept


def test_an_earlier_label_of_ours_is_replaced(folder):
    assert write(folder, "detection/a.txt", b"one") == (True, [])
    assert write(folder, "detection/a.txt", b"two") == (True, [])
    assert (folder / "detection/a.txt").read_bytes() == b"two"


def test_a_file_that_a_person_changed_is_kept(folder):
    write(folder, "a.txt", b"one")
    (folder / "a.txt").write_bytes(b"corrected")
    assert write(folder, "a.txt", b"two") == (False, ["a.txt"])
    assert (folder / "a.txt").read_bytes() == b"corrected"


def test_a_correction_that_equals_an_earlier_label_is_kept(folder):
    write(folder, "a.txt", b"")
    write(folder, "a.txt", b"a false box")
    (folder / "a.txt").write_bytes(b"")
    assert write(folder, "a.txt", b"another box") == (False, ["a.txt"])
    assert (folder / "a.txt").read_bytes() == b""


def test_a_file_that_was_there_before_is_kept(folder):
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"a person's")
    assert write(folder, "a.txt", b"ours") == (False, ["a.txt"])
    assert (folder / "a.txt").read_bytes() == b"a person's"


def test_a_file_that_a_person_removed_does_not_come_back(folder):
    write(folder, "a.txt", b"one")
    (folder / "a.txt").unlink()
    assert write(folder, "a.txt", b"two") == (False, ["a.txt"])
    assert not (folder / "a.txt").exists()


def test_a_killed_run_leaves_files_that_can_be_written_again(folder):
    write(folder, "a.txt", b"one")
    lines = (folder / LEDGER).read_bytes()
    (folder / LEDGER).write_bytes(lines[: len(lines) // 2])
    assert write(folder, "a.txt", b"one") == (True, [])
    assert write(folder, "a.txt", b"two") == (True, [])


def test_an_image_moves_with_its_class(folder):
    for state in ("raw", "golden", "raw"):
        assert write(folder, f"images/{state}/a.jpg", b"pixels", "place") == (f"images/{state}/a.jpg", [])
        assert [path.parent.name for path in folder.rglob("a.jpg")] == [state]


@pytest.mark.parametrize("state", ["raw", "golden"])
def test_an_image_that_a_person_moved_stays(folder, state):
    write(folder, "images/raw/a.jpg", b"pixels", "place")
    (folder / "images/burnt").mkdir()
    (folder / "images/raw/a.jpg").rename(folder / "images/burnt/a.jpg")
    done, kept = write(folder, f"images/{state}/a.jpg", b"pixels", "place")
    assert (done, kept) == ("images/burnt/a.jpg", ["images/burnt/a.jpg"])
    assert [path.parent.name for path in folder.rglob("a.jpg")] == ["burnt"]


def test_an_image_that_a_person_removed_does_not_come_back_elsewhere(folder):
    write(folder, "images/raw/a.jpg", b"pixels", "place")
    (folder / "images/raw/a.jpg").unlink()
    assert write(folder, "images/golden/a.jpg", b"pixels", "place")[0] is None
    assert not list(folder.rglob("a.jpg"))


def test_a_zip_holds_the_files_as_they_are_now(folder):
    write(folder, "detection/labels/ä b.txt", b"one")
    with Output(folder) as output:
        output.zip("detection")
        (folder / "detection/labels/ä b.txt").write_bytes(b"corrected")
        output.zip("detection")
    with zipfile.ZipFile(folder / "detection.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"labels/ä b.txt": b"corrected"}


def test_a_zip_of_a_person_is_kept(folder):
    write(folder, "detection/a.txt", b"one")
    (folder / "detection.zip").write_bytes(b"a person's")
    with Output(folder) as output:
        output.zip("detection")
        assert output.kept == ["detection.zip"]
    assert (folder / "detection.zip").read_bytes() == b"a person's"
