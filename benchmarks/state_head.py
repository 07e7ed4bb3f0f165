"""Fraction of a checkpoint's state head that is in use: `python benchmarks/state_head.py models/best_model.pth`.

Counts the hidden units that are on for at least one of the packed photos of states. A unit that is off for all of them
takes no part in any answer, and is not trained either.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from panvision.dataset.packed import open_packed
from panvision.model.checkpoint import load_checkpoint

AT_ONCE = 32


def count_used(checkpoint: Path, prepared: Path) -> tuple[int, int]:
    """Hidden units that are on for some photo, and all of them."""
    model = load_checkpoint(checkpoint)[0].eval()
    images = open_packed(prepared / "classification", "classification").images
    hidden: list[torch.Tensor] = []
    model.classification.layers[-1].register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    with torch.inference_mode():
        for start in range(0, len(images), AT_ONCE):
            batch = torch.tensor(np.array(images[start : start + AT_ONCE])).permute(0, 3, 1, 2)
            model(batch, tasks=("classification",))
    used = (torch.cat(hidden) > 0).any(dim=0)
    return int(used.sum()), len(used)


def main() -> None:
    """Print the count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--prepared", type=Path, default=Path("build/prepared"))
    args = parser.parse_args()
    used, total = count_used(args.checkpoint, args.prepared)
    print(f"{used} of {total} hidden units of the state head are on for some photo")


if __name__ == "__main__":
    main()
