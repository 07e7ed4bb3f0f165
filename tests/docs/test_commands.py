"""Shell commands of README.md and docs/: each is run here, or its page says what it needs.

A fenced block without a language holds commands. `<!-- needs: … -->` above it, or `# needs …` behind a command, says
why it is not run here; `<!-- every command needs: … -->` below the title says it for the page.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from panvision.cli.exits import Exit
from panvision.cli.main import main
from panvision.photos.pixels import read_image
from tests.pipeline.scratch import ROOT

PAGE_NEEDS = re.compile(r"^<!-- every command needs: \S.* -->$", flags=re.MULTILINE)
BLOCK = re.compile(r"(^<!-- needs: \S[^\n]* -->\n)?^```(\S*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# A model of two training steps fails its gates; generated images give warnings, and folders beside images are left out.
PASSED = {
    "evaluate": {0, Exit.GATE},
    **{name: {0, Exit.WARNINGS} for name in ("validate", "predict", "prelabel", "select")},
}
# Files that must be there when the commands of a page have run.
WRITTEN = {"docs/labelling.md": ("collected/collected.jsonl",)}
# Several pages have it; the fixture runs it once, for its files.
EXPORT = "panvision export checkpoints/best_model.pth --calibrate photos --out exported"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}


def unmarked(text):
    """Return the commands of a page that are not marked with what they need."""
    if PAGE_NEEDS.search(text):
        return []
    blocks = [commands for needs, language, commands in BLOCK.findall(text) if not language and not needs]
    lines = [line.partition("#") for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()]
    return [command.strip() for command, _, comment in lines if command.strip() and not comment.startswith(" needs ")]


@pytest.fixture(scope="module")
def files(raw, trained, tmp_path_factory):
    """A folder with the files that the pages name: datasets, images, a small model in each format, a clip, settings."""
    from panvision.monitor.video import VideoFile

    root = tmp_path_factory.mktemp("pages")
    for name in ("docs", "src", "stages", "tests", "dvc.yaml", "metrics"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "presets", root / "presets")
    shutil.copytree(raw, root / "data/demo")
    shutil.copytree(raw, root / "photos")
    shutil.copytree(raw, root / "photos-may")
    shutil.copytree(trained, root / "checkpoints")
    shutil.make_archive(str(root / "export"), "zip", raw / "detection")
    images = sorted((raw / "detection/images").iterdir())
    for path in images[:2]:
        shutil.copy(path, root / "photos")
    with VideoFile(root / "clip.mp4", 10.0) as clip:
        for number, path in enumerate(images):
            clip.write(read_image(path), number / 10)
    with contextlib.chdir(root):
        assert main(shlex.split(EXPORT)[1:]) == 0
    shutil.copytree(root / "exported", root / "models")
    shutil.copy(trained / "best_model.pth", root / "models")
    for name in ("panvision.onnx", "panvision.int8.onnx"):
        shutil.copy(root / "models" / name, root)
    return root


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if unmarked(text)])
def test_unmarked_commands_of_a_page_run(files, monkeypatch, name):
    monkeypatch.chdir(files)
    for line in dict.fromkeys(unmarked(PAGES[name])):
        program, *arguments = shlex.split(line)
        if program == "panvision" and line != EXPORT:
            assert main(arguments) in PASSED.get(arguments[0], {0}), line
        elif program != "panvision":
            # Nothing that installs, reaches a network or trains may be started here.
            assert program in ("cp", "python"), f"{name}: {line}: mark it with what it needs, or run it here"
            command = [sys.executable if program == "python" else program, *arguments]
            subprocess.run(command, check=True, capture_output=True)
    assert all((files / path).is_file() for path in WRITTEN.get(name, ()))


def test_marked_commands_are_left_out():
    blocks = ["```\na b\n```", "```\nc d  # needs a camera\ne \\\n  f  # g\n```", "```text\nh\n```"]
    page = "<!-- needs: a GPU -->\n" + "\n\n".join(blocks) + "\n"
    assert unmarked(page) == ["e f"]
    assert unmarked("# Page\n\n<!-- every command needs: a remote -->\n" + page) == []
    assert unmarked(page.replace("a GPU", "")) == ["a b", "e f"]
    assert unmarked(page.replace("a GPU -->", "a GPU -->\n")) == ["a b", "e f"]
