"""Size and speed of every backbone: `python benchmarks/backbones.py [--side 256] [--threads 1 2] [--rounds 20]`.

Each backbone is exported with the classification head alone (below 1 % of the work), random weights, as ONNX and as
INT8. Each file is loaded in its own process. The parent lets one process at a time run one batch of passes, file after
file, round after round, so that other load on the machine affects all files equally and no idle runtime spins beside
the one that is timed. Printed are GMAC and parameters of the backbone, and the fastest pass of all rounds, which other
load disturbs least: batch size 1, from a uint8 image in memory to the answer.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from panvision.cli.timing import noise, open_model

PASSES = 5  # in a batch
FORMS = ("onnx", "int8.onnx")


def export(name: str, side: int, folder: Path) -> tuple[int, int]:
    """Write both files of a backbone → its multiplications with addition and its parameters."""
    import torch

    from panvision.cli.timing import torch_macs
    from panvision.export.int8 import write_int8
    from panvision.export.onnx_file import write_onnx
    from panvision.model.checkpoint import save_checkpoint
    from panvision.model.multitask import MultiTaskModel
    from panvision.model.settings import ModelSettings

    torch.manual_seed(0)
    settings = ModelSettings(backbone=name, weights="none", cls_hidden=8)
    model = MultiTaskModel(
        settings, image_size=side, det_classes=[], cls_classes=["a", "b"], tasks=["classification"]
    ).eval()
    macs = torch_macs(model.backbone, torch.zeros(1, 3, side, side))
    save_checkpoint(folder / f"{name}.pth", model)
    write_onnx(folder / f"{name}.onnx", model, open_model(folder / f"{name}.pth", 1).info, opset=18)
    write_int8(folder / f"{name}.int8.onnx", folder / f"{name}.onnx", noise(4, side))
    return macs, sum(parameter.numel() for parameter in model.backbone.parameters())


def serve(path: str, threads: str) -> None:
    """Answer each line of standard input with the seconds of the fastest of some passes through a file."""
    predictor = open_model(Path(path), int(threads))
    image = noise(1, predictor.image_size)
    predictor.raw(image)
    for _ in sys.stdin:
        seconds = []
        for _ in range(PASSES):
            start = time.perf_counter()
            predictor.raw(image)
            seconds.append(time.perf_counter() - start)
        print(min(seconds), flush=True)


def measure(paths: Sequence[Path], threads: int, rounds: int) -> dict[Path, float]:
    """Seconds of the fastest pass through each file, each in its own process, alternately."""
    workers = {
        path: subprocess.Popen(
            [sys.executable, __file__, "--serve", str(path), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for path in paths
    }
    found: dict[Path, list[float]] = {path: [] for path in paths}
    for turn in range(rounds + 1):
        for path, worker in workers.items():
            assert worker.stdin and worker.stdout
            print(file=worker.stdin, flush=True)
            seconds = float(worker.stdout.readline())
            if turn:  # the first round warms up
                found[path].append(seconds)
    for worker in workers.values():
        worker.communicate()
    return {path: min(seconds) for path, seconds in found.items()}


def main() -> None:
    """Export, time, print."""
    from panvision.model.backbones import BACKBONES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="of the image in pixels (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES), metavar="NAME")
    parser.add_argument("--serve", nargs=2, metavar=("FILE", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(*args.serve)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {backbone: export(backbone, args.side, folder) for backbone in args.backbones}
        paths = [folder / f"{backbone}.{form}" for backbone in args.backbones for form in FORMS]
        seconds = {threads: measure(paths, threads, args.rounds) for threads in args.threads}
        print(f"{platform.machine()}, {args.side} px, batch 1, fastest of {args.rounds * PASSES} passes, ms")
        titles = [
            f"{form.split('.')[0].replace('onnx', 'float')}, {threads}" for threads in args.threads for form in FORMS
        ]
        print(f"{'':20}{'GMAC':>7}{'M params':>10}" + "".join(f"{title:>10}" for title in titles))
        for backbone, (macs, parameters) in sizes.items():
            times = [seconds[threads][folder / f"{backbone}.{form}"] for threads in args.threads for form in FORMS]
            cells = "".join(f"{1e3 * one:>10.1f}" for one in times)
            print(f"{backbone:20}{macs / 1e9:>7.2f}{parameters / 1e6:>10.2f}{cells}")


if __name__ == "__main__":
    main()
