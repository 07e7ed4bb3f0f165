import multiprocessing
import os
import signal

import pytest

from panvision.prepare import workers
from panvision.prepare.formats.readers import read_set
from panvision.prepare.load import load_sample
from panvision.prepare.workers import WorkerError, load_samples
from tests.prepare.raw_sets import classification_set, set_settings


@pytest.fixture
def given(tmp_path):
    root = classification_set(tmp_path, count=60)
    return read_set("classification", root).samples, root, set_settings(tmp_path)


@pytest.mark.process
def test_processes_give_what_one_process_gives_in_order(given, monkeypatch):
    samples, root, settings = given
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(3))
    together = list(load_samples(samples, root, settings, everything))
    monkeypatch.setattr(workers, "_WORTH_IT", 10**6)
    alone = list(load_samples(samples, root, settings, everything))
    assert [one.index for one in together] == [one.index for one in alone]
    assert [one.index[0] for one in alone] == [sample.file for sample in samples]
    assert all((one.image == other.image).all() for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("cores", [1, 4])
def test_every_chunk_is_kept_under_its_number(given, monkeypatch, cores):
    """The order does not depend on which process is quicker: the one that hands out, the others, or none."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores))
    samples, root, settings = given
    assert list(load_samples(samples, root, settings, numbered)) == [
        (number, sample.file) for number, sample in enumerate(samples)
    ]


def numbered(first, samples):
    return [(number, loaded.index[0]) for number, loaded in enumerate(samples, first)]


def test_stopping_early_ends_the_processes(given, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(2))
    loading = load_samples(*given, everything)
    next(loading)
    loading.close()


def test_a_process_that_is_killed_is_an_error_that_names_files(given, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(2))
    monkeypatch.setattr(workers, "_load_chunk", die_elsewhere)
    words = r"was killed, .* memory.*classification/images/burnt/c12[0-9]{2}\.png.*max_pixels"
    with pytest.raises(WorkerError, match=words):
        list(load_samples(*given, everything))


def everything(first, samples):
    return list(samples)


def die_elsewhere(first, samples, root, settings, keep):
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return keep(first, [load_sample(sample, root, settings) for sample in samples])
