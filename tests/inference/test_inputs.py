import os
import zipfile

import pytest
from PIL import Image

from panvision.inference.backend import PredictorError
from panvision.inference.inputs import find_images
from panvision.photos.pixels import MAX_PIXELS, ImageError
from tests.tiny import picture


@pytest.fixture
def folder(tmp_path):
    """Two images beside everything else that folders of photos hold."""
    root = tmp_path / "photos"
    (root / "day/.thumbnails").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "day/c.png", "day/.thumbnails/d.png", ".e.png"):
        Image.fromarray(picture()).save(root / name)
    for name in ("notes.txt", "Thumbs.db", "x.HEIC", "clip.MOV", "day/raw.CR2", "labels.json", "noend"):
        (root / name).write_bytes(b"?")
    return root


def names(found):
    return [image.name for image in found.images], [skipped.name for skipped in found.skipped]


def test_find_images_folder_lists_what_it_skips(folder):
    found = find_images(folder)
    assert names(found) == (["a.JPG", "b.png"], ["clip.MOV", "day", "noend", "x.HEIC"])
    reasons = {skipped.name: skipped.reason for skipped in found.skipped}
    assert f"`panvision watch {folder}/clip.MOV`" in reasons["clip.MOV"]
    assert "--recursive" in reasons["day"] and "which is not read" in reasons["x.HEIC"]


def test_find_images_recursive(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "day/link").symlink_to(tmp_path / "elsewhere")
    (folder / "out").mkdir()
    Image.fromarray(picture()).save(folder / "out/a_mask.png")
    found = find_images(folder, recursive=True, without=folder / "day/../out")
    skipped = ["clip.MOV", "day/link", "day/raw.CR2", "noend", "x.HEIC"]
    assert names(found) == (["a.JPG", "b.png", "day/c.png"], skipped)
    assert [image.read(MAX_PIXELS).shape for image in found.images] == [(48, 96, 3)] * 3


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not hold")
def test_find_images_folder_that_may_not_be_listed(folder):
    (folder / "day").chmod(0)
    found = find_images(folder, recursive=True)
    (folder / "day").chmod(0o755)
    assert "day" in names(found)[1]


def test_find_images_file_of_any_suffix(folder):
    (folder / "b.png").rename(folder / "b.photo")
    (image,) = find_images(folder / "b.photo").images
    assert (image.name, image.path, image.read(MAX_PIXELS).shape) == ("b.photo", f"{folder}/b.photo", (48, 96, 3))


def test_find_images_pattern(folder):
    assert names(find_images(f"{folder}/*.png")) == (["b.png"], [])
    assert names(find_images(f"{folder}/**/*.png")) == (["b.png", "day/c.png"], [])
    assert names(find_images(f"{folder}/d*/*")) == (["c.png"], ["raw.CR2"])
    odd = folder / "[1]"
    (folder / "day").rename(odd)  # a folder with this name is not a pattern
    assert names(find_images(odd)) == (["c.png"], ["raw.CR2"])
    with pytest.raises(PredictorError, match="matches no images"):
        find_images(f"{folder}/*.webp")


@pytest.fixture
def archive(folder, tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in (
            "train/images/a.png",
            "b.png",
            "__MACOSX/._b.png",
            "../c.png",
            "/d.png",
            "C:/e.png",
            "f\\..\\g.png",
        ):
            packed.writestr(name, (folder / "b.png").read_bytes())
        packed.writestr("data.yaml", "names: []")
        packed.writestr("clip.mp4", "?")
        packed.writestr("bomb.png", bytes(40_000_000))
    return path


def test_find_images_zip(archive):
    found = find_images(archive)
    assert names(found) == (
        ["b.png", "bomb.png", "train/images/a.png"],
        ["../c.png", "/d.png", "C:/e.png", "clip.mp4", "f\\..\\g.png"],
    )
    images = {image.name: image for image in found.images}
    assert images["b.png"].read(MAX_PIXELS).shape == (48, 96, 3)
    with pytest.raises(ImageError, match=r"bomb\.png: more than 16809984 bytes"):
        images["bomb.png"].read(4096)


def test_find_images_damaged_zip(archive):
    content = bytearray(archive.read_bytes())
    start = content.index(b"b.png") + 5
    content[start + 5 : start + 40] = bytes(35)
    archive.write_bytes(content)
    found = find_images(archive)
    faults = 0
    for image in found.images:
        try:
            image.read(MAX_PIXELS)
        except ImageError:
            faults += 1
    assert faults == 2  # and the one of zeros
    archive.write_bytes(content[:100])
    with pytest.raises(PredictorError, match=r"export\.zip: not a readable ZIP"):
        find_images(archive)


@pytest.mark.parametrize("source", ["clip.mp4", "rtsp://camera/stream", "https://host/a.jpg", "0", os.devnull])
def test_find_images_live_sources_lead_to_watch(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"?")
    with pytest.raises(PredictorError, match=f"{source}: .*`panvision watch {source}`"):
        find_images(source)


def test_find_images_nothing_that_can_be_read(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"?")
    with pytest.raises(PredictorError, match=r"has no images .*\n.*: left out: a\.heic: is HEIC, which is not read"):
        find_images(tmp_path)


def test_find_images_leaves_out_marked_folders(folder):
    (folder / "day/marked.jsonl").write_bytes(b"")
    found = find_images(folder, recursive=True, marker="marked.jsonl")
    assert names(found)[0] == ["a.JPG", "b.png"]
    (reason,) = (skipped.reason for skipped in found.skipped if skipped.name == "day")
    assert reason == "has copies of images, because marked.jsonl is in it; name it alone to read them"
    assert names(find_images(folder / "day", recursive=True, marker="marked.jsonl"))[0] == ["c.png"]
    assert "day/c.png" in names(find_images(folder, recursive=True))[0]
    with pytest.raises(PredictorError, match=r"would receive copies of the images in it; choose .* with --into$"):
        find_images(folder, recursive=True, without=folder, marker="marked.jsonl")
    assert find_images(folder, without=folder, marker="marked.jsonl").images


def test_find_images_missing_clip_does_not_exist(tmp_path):
    with pytest.raises(PredictorError, match=r"gone.mp4: no such folder, file or pattern of images"):
        find_images(tmp_path / "gone.mp4")
