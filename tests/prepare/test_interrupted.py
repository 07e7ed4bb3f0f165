"""A full disk, or a kill at any moment of prepare, leaves nothing that a later run would take for good."""

import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from panvision.dataset.packed import open_packed
from tests.prepare.raw_sets import SIDE, classification_set, detection_set, pack, save, save_mask, segmentation_set

SCRIPT = """
import sys
from panvision.prepare.pack import prepare
from panvision.photos.settings import DataSettings

if __name__ == "__main__":
    root, task, out = sys.argv[1:4]
    try:
        print(prepare(task, DataSettings(root=root, image_size={side}, min_side=16), out).images, flush=True)
    except OSError as error:
        sys.exit(f"{{error}}")
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "run.py"
    path.write_text(SCRIPT.format(side=SIDE))
    return path


def run(script, root, task, out, **options):
    command = [sys.executable, str(script), str(root), task, str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kilobytes", [1, 40, 100])
@pytest.mark.parametrize("task", ["segmentation", "detection", "classification"])
def test_a_file_that_cannot_grow(tmp_path, script, task, kilobytes):
    """The kernel refuses to write beyond a limit, early or late; the arrays of before stay as they were."""
    {"segmentation": segmentation_set, "detection": detection_set, "classification": classification_set}[task](
        tmp_path / "raw", 12
    )
    out = tmp_path / "prepared" / task
    assert run(script, tmp_path / "raw", task, out).returncode == 0
    before = contents(out)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    done = run(script, tmp_path / "raw", task, out, preexec_fn=limit)
    assert done.returncode == 1 and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert contents(out) == before
    assert [path.name for path in out.parent.iterdir()] == [task]


# Stops the process itself at the n-th write to an array, or at the n-th change of a folder's name: any moment of a run.
KILLED = """
import os, signal, sys
from pathlib import Path
from panvision.prepare.arrays import ArrayFile

moment = int(sys.argv[4])
count = 0

def counted(function):
    def call(*given, **named):
        global count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)
    return call

ArrayFile.write = counted(ArrayFile.write)
ArrayFile.finish = counted(ArrayFile.finish)
Path.rename = counted(Path.rename)
Path.open = counted(Path.open)
"""


@pytest.mark.parametrize("moment", [1, 3, 5, 8, 12, 20, 31, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45])
def test_a_kill_at_any_moment(tmp_path, moment):
    """Afterwards the old arrays are there whole, or the new ones, or none; the next run clears up and is right."""
    root = tmp_path / "raw"
    segmentation_set(root, 8)
    out = tmp_path / "prepared" / "segmentation"
    pack(root, "segmentation", out)
    before = contents(out)
    save(root / "segmentation" / "images" / "new.png", 99)
    save_mask(root / "segmentation" / "masks" / "new.png")
    pack(root, "segmentation", tmp_path / "expected")
    after = contents(tmp_path / "expected")
    script = tmp_path / "killed.py"
    script.write_text(KILLED + SCRIPT.format(side=SIDE))
    command = [sys.executable, str(script), str(root), "segmentation", str(out), str(moment)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (-signal.SIGKILL, 0)
    assert not out.exists() or contents(out) in (before, after)
    assert pack(root, "segmentation", out).images == 9
    assert contents(out) == after
    assert [path.name for path in out.parent.iterdir()] == ["segmentation"]
    assert len(open_packed(out, "segmentation")) == 9


def test_processes_end_with_a_parent_that_is_killed(tmp_path, script):
    """The pool's processes would wait for ever for work."""
    classification_set(tmp_path / "raw", 60)
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, sys
            from pathlib import Path
            from panvision.prepare.formats.readers import read_set
            from panvision.photos.settings import DataSettings
            from panvision.prepare.workers import load_samples

            def everything(first, samples):
                return list(samples)

            if __name__ == "__main__":
                root = Path(sys.argv[1]) / "classification"
                settings = DataSettings(root=sys.argv[1], image_size=64, min_side=16)
                next(iter(load_samples(read_set("classification", root).samples, root, settings, everything)))
                os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    # The pipe is inherited by the pool's processes: it is at its end when the last of them has gone.
    done = run(script, tmp_path / "raw", "classification", tmp_path / "out", timeout=60)
    assert done.returncode == -signal.SIGKILL
