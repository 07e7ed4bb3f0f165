"""Files that would run code if they were unpickled without care."""

import os
import pickle

import torch


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def write_hostile(path, mark, kind):
    """A file of one of three kinds that makes the folder `mark` when it is unpickled."""
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(Bomb(mark), protocol=2))
    elif kind == "archive":
        torch.save({"format": "panvision", "state_dict": Bomb(mark)}, path)
    else:
        torch.save({"format": "panvision", "state_dict": Bomb(mark)}, path, _use_new_zipfile_serialization=False)
    return path


KINDS = ("plain pickle", "archive", "old archive")
