"""What a rank does with messages and errors; the messages themselves are held to in test_ranks.py."""

import pytest
import torch

from panvision.training import distributed as module
from panvision.training.distributed import Alone, Group, RankLostError, join, noticing_loss
from panvision.training.errors import TrainingError
from panvision.training.launch import EXIT_LOST
from tests.training.test_loop import Waits


class Store:
    """Counts, or is gone."""

    def __init__(self, *, gone=False):
        self.gone, self.count = gone, 0

    def add(self, key, number):
        if self.gone:
            raise RuntimeError("Broken pipe")
        self.count += number
        return self.count


def group(store=None, *, rank=1, launcher=None):
    return Group(store, rank=rank, size=3, local=(rank, 3), launcher=launcher)


def test_sums_come_in_one_message_without_waiting_for_the_device(monkeypatch):
    sent = []

    def doubled(flat):
        sent.append(flat.clone())
        flat.mul_(2)

    monkeypatch.setattr(module.dist, "all_reduce", doubled)
    tensors = [torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last), torch.tensor(5.0), torch.arange(3.0)]
    tensors[0][0, 1, 2, 3] = 7.0
    expected = [2 * tensor for tensor in tensors]
    with Waits() as waits:
        unsound = group().add_up(tensors)
    assert waits.found == [] and len(sent) == 1
    assert all(torch.equal(*pair) for pair in zip(tensors, expected, strict=True))
    assert [float(each) for each in unsound] == [0, 0, 0]
    tensors[1].fill_(float("nan"))
    assert [float(each) for each in group().add_up(tensors)] == [0, 2, 0]


def test_one_rank_tells_an_error_and_none_tells_of_a_lost_one_where_the_launcher_does():
    store, error = Store(), TrainingError("the reason")
    assert group(store).last_words(error) == "the reason"
    assert group(store, rank=2).last_words(error) == EXIT_LOST
    assert group(Store(gone=True)).last_words(error) == EXIT_LOST
    assert group(Store()).last_words(RankLostError("gone")) == "gone"
    assert group(Store(), launcher=1).last_words(RankLostError("gone")) == EXIT_LOST
    assert Alone().last_words(error) == "the reason"


def test_a_failed_message_means_a_lost_rank_and_full_memory_does_not():
    with pytest.raises(RankLostError, match=r"has ended or does not answer \(Connection closed\)"), noticing_loss():
        raise RuntimeError("Connection closed\nby peer")
    with pytest.raises(torch.OutOfMemoryError), noticing_loss():
        raise torch.OutOfMemoryError


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}])
def test_a_single_process_is_alone(environment):
    assert isinstance(join(environment), Alone)
