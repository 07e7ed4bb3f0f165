import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dvc.repo import Repo
from dvc.repo.experiments.queue.celery import LocalCeleryQueue

from tests.pipeline.readme import block
from tests.pipeline.scratch import Scratch

SECONDS = 1200  # in which the queue must be through, on a machine busy with other things


@pytest.fixture(scope="session")
def scratch(request, tmp_path_factory) -> Scratch:
    """A scratch repository in which the whole pipeline ran once and its lock and metrics are committed."""
    if request.config.getoption("loadgroup", default=False):
        # Minutes of work: the second worker to begin it has tests of a group that the scheduler has divided.
        (tmp_path_factory.getbasetemp().parent / "scratch").touch(exist_ok=False)
    scratch = Scratch.create(tmp_path_factory.mktemp("scratch"))
    scratch.dvc("repro")
    scratch.commit("the pipeline's first run")
    return scratch


@pytest.fixture(scope="session")
def queued(scratch, tmp_path_factory) -> Iterator[Scratch]:
    """A clone in which DVC's queue ran the README's cross-validation, three folds of it, and two sets of own photos.

    It shares its data through a folder, as the README sets that up, and its `origin` is a bare repository beside it.
    While the queue ran, the workspace's code could not even be imported.
    """
    lab = scratch.clone(tmp_path_factory.mktemp("lab"), shared_cache=True)
    lab.dvc("checkout", "--quiet")
    outside = lab.folder.parent / "photos"
    for photos in (outside, lab.folder / "photos"):
        lab.run("cp", "-r", "data/demo", str(photos))
    lab.dvc("add", "--quiet", "photos")
    lab.commit("own photos")
    lab.has_origin(lab.folder.parent / "origin")
    share = block("dvc remote add", "/mnt/team").replace("/mnt/team", str(lab.folder.parent / "team"))
    lab.run("sh", "-e", "-c", share)
    try:
        folds, start, _ = block("panvision folds").splitlines()
        lab.run("sh", "-c", folds.replace("folds=5", "folds=3").replace("0,1,2,3,4", "0,1,2"))
        for name, root in (("outside", outside), ("added", "photos")):
            lab.dvc("exp", "run", "--queue", "--name", name, "-S", f"data.root={root}", "prepare@detection")
        package = lab.folder / "src/panvision/__init__.py"
        code = package.read_text(encoding="utf-8")
        package.write_text("raise SystemExit('the code of the workspace, not of the experiment')", encoding="utf-8")
        # The workers keep the command's output open as long as they live: a pipe would be read until they end.
        lab.run("sh", "-c", f"{start} > ../started 2>&1")
        assert "Started '2' new" in (lab.folder.parent / "started").read_text()
        wait_for_queue(lab.folder)
        package.write_text(code, encoding="utf-8")
        yield lab
    finally:
        stop_queue(lab)


def wait_for_queue(folder: Path) -> None:
    """Return when no experiment waits or runs any more; each look at the workers takes DVC a second."""
    end = time.monotonic() + SECONDS
    with Repo(str(folder)) as repo:
        while is_busy(repo.experiments.celery_queue):
            assert time.monotonic() < end, "the queue is not through"


def is_busy(queue: LocalCeleryQueue) -> bool:
    try:
        busy = any(queue.worker_status().values())
        return busy or not {"Queued", "Running"}.isdisjoint(row["status"] for row in queue.status())
    except json.JSONDecodeError:
        return True  # DVC read a worker's message while it was being written


def stop_queue(lab: Scratch) -> None:
    """End the queue's workers and the processes that they started."""
    alive = []
    try:
        lab.dvc("queue", "stop", "--kill")
        _, alive = psutil.wait_procs(processes_of(lab), timeout=120)
    finally:
        for process in processes_of(lab):
            process.kill()
    assert not alive, "outlived `dvc queue stop --kill`"


def processes_of(lab: Scratch) -> list[psutil.Process]:
    """Running processes with the environment of the repository's commands."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DVC_SITE_CACHE_DIR") == lab.env["DVC_SITE_CACHE_DIR"]:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
