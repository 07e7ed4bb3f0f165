import zipfile

import pytest

from panvision.labelling.output import LEDGER, Output


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "labels"


def write(folder, path, content, put="write"):
    output = Output(folder)
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


def test_an_equal_file_that_was_there_before_is_a_persons(folder):
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"equal")
    assert write(folder, "a.txt", b"equal") == (True, [])
    assert write(folder, "a.txt", b"ours") == (False, ["a.txt"])
    assert (folder / "a.txt").read_bytes() == b"equal"


@pytest.mark.parametrize("torn", [0, 1, 9])
@pytest.mark.parametrize("earlier", [None, b"one"])
@pytest.mark.parametrize("written", [False, True])
def test_a_killed_run_leaves_files_that_can_be_written_again(folder, torn, earlier, written):
    for content in (earlier, b"two"):
        if content is not None:
            write(folder, "a.txt", content)
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    (folder / LEDGER).write_bytes(b"".join(lines[:-1]) + lines[-1][:torn])
    if not written:
        (folder / "a.txt").unlink()
        if earlier is not None:
            (folder / "a.txt").write_bytes(earlier)
    for content in (b"two", b"three"):
        assert write(folder, "a.txt", content) == (True, [])
    (folder / "a.txt").write_bytes(b"two")
    assert write(folder, "a.txt", b"four") == (False, ["a.txt"])


def test_a_correction_after_a_killed_run_is_kept(folder):
    write(folder, "a.txt", b"one")
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    (folder / LEDGER).write_bytes(lines[0])
    (folder / "a.txt").write_bytes(b"corrected")
    assert write(folder, "a.txt", b"two") == (False, ["a.txt"])


def test_an_image_moves_with_its_class(folder):
    for state in ("raw", "golden", "raw"):
        assert write(folder, f"classification/images/{state}/a.jpg", b"pixels", "place") == (
            f"classification/images/{state}/a.jpg",
            [],
        )
        assert [path.parent.name for path in folder.rglob("a.jpg")] == [state]


@pytest.mark.parametrize("state", ["raw", "golden"])
def test_an_image_that_a_person_moved_stays(folder, state):
    write(folder, "classification/images/raw/a.jpg", b"pixels", "place")
    (folder / "classification/images/burnt").mkdir()
    (folder / "classification/images/raw/a.jpg").rename(folder / "classification/images/burnt/a.jpg")
    done, kept = write(folder, f"classification/images/{state}/a.jpg", b"pixels", "place")
    assert (done, kept) == ("classification/images/burnt/a.jpg", ["classification/images/burnt/a.jpg"])
    assert [path.parent.name for path in folder.rglob("a.jpg")] == ["burnt"]


def test_an_image_that_a_person_removed_does_not_come_back_elsewhere(folder):
    write(folder, "classification/images/raw/a.jpg", b"pixels", "place")
    (folder / "classification/images/raw/a.jpg").unlink()
    assert write(folder, "classification/images/golden/a.jpg", b"pixels", "place")[0] is None
    assert not list(folder.rglob("a.jpg"))


def test_an_image_in_the_folder_that_a_person_chose_has_that_class(folder):
    write(folder, "classification/images/raw/a.jpg", b"pixels", "place")
    (folder / "classification/images/burnt").mkdir()
    (folder / "classification/images/raw/a.jpg").rename(folder / "classification/images/burnt/a.jpg")
    path = "classification/images/burnt/a.jpg"
    assert write(folder, path, b"pixels", "place") == (path, [])


def test_an_image_that_a_person_sorted_stays(folder):
    path = "classification/images/burnt/a.jpg"
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_bytes(b"pixels")
    assert write(folder, path, b"pixels", "place") == (path, [])
    assert write(folder, "classification/images/raw/a.jpg", b"pixels", "place") == (path, [path])
    assert [path.parent.name for path in folder.rglob("a.jpg")] == ["burnt"]


def test_nothing_is_created_before_the_first_file(folder):
    Output(folder).zip("classification")
    assert not folder.exists()


def test_a_zip_holds_the_files_as_they_are_now(folder):
    write(folder, "detection/labels/ä b.txt", b"one")
    output = Output(folder)
    output.zip("detection")
    (folder / "detection/labels/ä b.txt").write_bytes(b"corrected")
    output.zip("detection")
    with zipfile.ZipFile(folder / "detection.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"labels/ä b.txt": b"corrected"}


def test_a_zip_of_a_person_is_kept(folder):
    write(folder, "detection/a.txt", b"one")
    (folder / "detection.zip").write_bytes(b"a person's")
    output = Output(folder)
    output.zip("detection")
    assert output.kept == ["detection.zip"]
    assert (folder / "detection.zip").read_bytes() == b"a person's"
