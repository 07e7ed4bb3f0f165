"""Speed of the shipped model beside other ways to the same three answers: `python benchmarks/inference.py`.

A preset's network with random weights (only speed is looked at) as a checkpoint, in ONNX and in INT8 is timed in turns
with torchvision's FCOS-ResNet50-FPN, FCN-ResNet50 and ResNet50 one after the other, and with three YOLO11n models if
there are any, each row in its own process. With `--openvino` the ONNX files of panvision and YOLO run in OpenVINO, too.
Batch 1, from a picture in memory to raw outputs; FCOS also decodes boxes in PyTorch, and is timed without that in ONNX.
`limit` is the share of the speed of one big float32 convolution in PyTorch or ONNX Runtime.

With `--folder N`, also a folder of N photos through the preset's ONNX file: one by one, and as `predict` does it.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import directory
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from roofline import LIMIT_MACS, limit_run, onnx_macs, torch_macs
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.segmentation import fcn_resnet50

from panvision.cli.timing import Run, Timed, alternately, make_run, noise, open_model
from panvision.config import Config
from panvision.export.int8 import write_int8
from panvision.export.onnx_file import write_onnx
from panvision.inference.backend import Precision, Runtime
from panvision.inference.onnx_backend import session_options
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from panvision.model.flat import FlatModel
from panvision.model.multitask import MultiTaskModel

BOXES, STATES = ("inlet_pipe", "pan", "stirrer"), ("raw", "translucent", "golden", "browned", "burnt")
YOLO, YOLO_INT8, YOLO_OPENVINO = (f"three YOLO11n, {form}" for form in ("ONNX", "INT8", "OpenVINO"))
PEERS, PEERS_ONNX = "three torchvision models", "the same three, ONNX"


@dataclass(frozen=True)
class Contestant:
    """One row: what its process makes and runs, its multiplications, and the runtime whose limit it is measured by."""

    name: str
    make: Callable[[], Run]
    macs: int
    runtime: str


class FcosNetwork(nn.Module):
    """FCOS without its transform and its box decoding, which no exporter takes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Raw outputs of all levels."""
        return tuple(self.head(list(self.backbone(x).values())).values())


class FcnNetwork(nn.Module):
    """FCN with a tensor for an output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.model(x)["out"]


def own(config: Config, folder: Path, threads: int, *, openvino: bool) -> list[Contestant]:
    """The preset's network as each runtime takes it."""
    torch.manual_seed(0)
    side = config.data.image_size
    save_checkpoint(
        folder / "model.pth", MultiTaskModel(config.model, image_size=side, det_classes=BOXES, cls_classes=STATES)
    )
    checkpoint = open_model(folder / "model.pth", threads)
    write_onnx(folder / "model.onnx", load_checkpoint(folder / "model.pth")[0], checkpoint.info, opset=18)
    write_int8(folder / "model.int8.onnx", folder / "model.onnx", noise(4, side))
    macs = torch_macs(FlatModel(load_checkpoint(folder / "model.pth")[0]), torch.from_numpy(noise(1, side)))
    forms: dict[str, tuple[str, Runtime | None, Precision | None]] = {
        "checkpoint": ("model.pth", None, None),
        "ONNX": ("model.onnx", None, None),
        "ONNX INT8": ("model.int8.onnx", None, None),
    }
    if openvino:
        from panvision.inference.openvino_backend import has_bfloat16

        forms |= {"OpenVINO": ("model.onnx", "openvino", None), "OpenVINO INT8": ("model.int8.onnx", "openvino", None)}
        forms |= {"OpenVINO bfloat16": ("model.onnx", "openvino", "bfloat16")} if has_bfloat16() else {}
    return [
        Contestant(name, partial(make_run, folder / file, *how, threads=threads, batch=1), macs, Path(file).suffix)
        for name, (file, *how) in forms.items()
    ]


def torchvision_models(side: int) -> list[tuple[Callable[[Any], object], Any, int]]:
    """Each of the three, its input, and what it multiplies."""
    fcos = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=len(BOXES), min_size=side, max_size=side)
    fcn = fcn_resnet50(weights=None, weights_backbone=None, num_classes=2)
    picture = torch.rand(1, 3, side, side)
    models = [(fcos, [picture[0]]), (fcn, picture), (resnet50(weights=None, num_classes=len(STATES)), picture)]
    return [(model, given, torch_macs(model, given)) for model, given in models]


def peers(side: int, folder: Path, threads: int, *, exported: bool) -> list[Contestant]:
    """Torchvision's three one after the other, in eager PyTorch and, if asked for, in ONNX Runtime."""
    models = torchvision_models(side)
    found = [Contestant(PEERS, partial(run_peers, side, threads), sum(macs for _, _, macs in models), ".pth")]
    if exported:
        (fcos, _, _), (fcn, picture, _), (resnet, _, _) = models
        networks = {"fcos": FcosNetwork(fcos), "fcn": FcnNetwork(fcn), "resnet": resnet}
        for name, network in networks.items():
            program = torch.onnx.export(network.eval(), (picture,), dynamo=True, verbose=False, opset_version=18)
            program.save(folder / f"{name}.onnx", external_data=False)
        found.append(files(PEERS_ONNX, [folder / f"{name}.onnx" for name in networks], threads))
    return found


def run_peers(side: int, threads: int) -> Run:
    """Return a pass of torchvision's three in eager PyTorch."""
    if threads:
        torch.set_num_threads(threads)
    models = torchvision_models(side)

    def run() -> None:
        with torch.inference_mode():
            for model, given, _ in models:
                model(given)

    return run


def files(name: str, paths: list[Path], threads: int, *, openvino: bool = False) -> Contestant:
    """Return ONNX files run one after the other, each on an image of its input's shape."""
    macs = sum(onnx_macs(path, picture_of(onnxruntime.InferenceSession(path))) for path in paths)
    return Contestant(name, partial(run_in_openvino if openvino else run_files, paths, threads), macs, ".onnx")


def run_files(paths: list[Path], threads: int) -> Run:
    """Return a pass of ONNX files."""
    providers = ["CPUExecutionProvider"]
    sessions = [onnxruntime.InferenceSession(path, session_options(threads), providers=providers) for path in paths]
    given = [{session.get_inputs()[0].name: picture_of(session)} for session in sessions]
    return lambda: [session.run(None, values) for session, values in zip(sessions, given, strict=True)]


def run_in_openvino(paths: list[Path], threads: int) -> Run:
    """Return a pass of ONNX files in OpenVINO, in float32."""
    from openvino import Core

    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    requests = [Core().compile_model(path, "CPU", hints).create_infer_request() for path in paths]
    given = [picture_of(onnxruntime.InferenceSession(path)) for path in paths]
    return lambda: [request.infer([picture]) for request, picture in zip(requests, given, strict=True)]


class _Noise(CalibrationDataReader):
    """Four images of noise: the ranges decide on accuracy, not on time."""

    def __init__(self, path: Path) -> None:
        session = onnxruntime.InferenceSession(path)
        self._left = [{session.get_inputs()[0].name: picture_of(session)}] * 4

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return the next images, None after the last."""
        return self._left.pop() if self._left else None


def round_weights(path: Path, folder: Path) -> Path:
    """Write an ONNX file in INT8 as ONNX Runtime's defaults for this processor do it; return its path."""
    out = folder / f"int8-{path.name}"
    quantize_static(path, out, _Noise(path), per_channel=True, reduce_range=True)
    return out


def picture_of(session: onnxruntime.InferenceSession) -> npt.NDArray[np.float32]:
    """Return an image for the input of a session."""
    return np.random.default_rng(0).random(session.get_inputs()[0].shape, np.float32)


def report(contestants: list[Contestant], timed: dict[str, Timed]) -> None:
    """Print the table; the last columns say how many times as fast as the peers the row is, by medians."""
    medians = {name: float(np.median(each.seconds)) for name, each in timed.items()}
    references = [name for name in (PEERS, PEERS_ONNX, YOLO) if name in medians]
    heads = {PEERS: "torchvision", PEERS_ONNX: "in ONNX", YOLO: "YOLO11n"}
    titles = "".join(f"{'× ' + heads[name]:>14}" for name in references)
    print(f"{'':26}{'GMAC':>7}{'p50 ms':>9}{'p95 ms':>9}{'limit':>8}{titles}")
    for one in contestants:
        median, high = medians[one.name], float(np.percentile(timed[one.name].seconds, 95))
        share = one.macs / median / (LIMIT_MACS / medians[f"limit {one.runtime}"])
        ratios = "".join(f"{medians[name] / median:>14.2f}" for name in references)
        print(f"{one.name:26}{one.macs / 1e9:>7.2f}{1e3 * median:>9.1f}{1e3 * high:>9.1f}{share:>8.0%}{ratios}")
    for runtime, name in ((".pth", "PyTorch"), (".onnx", "ONNX Runtime")):
        print(f"convolution limit of {name}: {2e-9 * LIMIT_MACS / medians[f'limit {runtime}']:.0f} GFLOP/s")


def main() -> None:
    """Build, time in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", type=Path, default=Path("presets/resnet50.yaml"))
    parser.add_argument("--threads", type=int, default=0, help="0: the runtimes' own choice (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=30, help="each runs every row once (default: %(default)s)")
    parser.add_argument("--openvino", action="store_true", help="ONNX files in OpenVINO, too")
    parser.add_argument("--peers-onnx", action="store_true", help="the torchvision models in ONNX Runtime, too")
    parser.add_argument("--no-peers", action="store_true", help="leave the torchvision models out")
    parser.add_argument("--yolo", type=Path, metavar="FOLDER", help="with det.onnx, seg.onnx and cls.onnx")
    parser.add_argument("--folder", type=int, metavar="N", help="also a folder of N photos, three rounds")
    args = parser.parse_args()
    config = Config.from_params(args.preset)
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contestants = own(config, folder, args.threads, openvino=args.openvino)
        if not args.no_peers:
            contestants += peers(config.data.image_size, folder, args.threads, exported=args.peers_onnx)
        if args.yolo:
            paths = [args.yolo / f"{task}.onnx" for task in ("det", "seg", "cls")]
            if absent := [str(path) for path in paths if not path.is_file()]:
                sys.exit(f"--yolo: not found: {', '.join(absent)}")
            contestants.append(files(YOLO, paths, args.threads))
            if args.openvino:
                contestants.append(files(YOLO_OPENVINO, paths, args.threads, openvino=True))
            contestants.append(files(YOLO_INT8, [round_weights(path, folder) for path in paths], args.threads))
        makers = {one.name: one.make for one in contestants}
        makers |= {f"limit {runtime}": partial(limit_run, runtime, args.threads) for runtime in (".pth", ".onnx")}
        print(
            f"{args.preset}, batch 1, {args.rounds} rounds in turns, {args.threads or torch.get_num_threads()} threads"
        )
        report(contestants, alternately(makers, warmup=args.warmup, rounds=args.rounds))
        if args.folder:
            directory.table(str(folder / "model.onnx"), args.folder, size=(1280, 720), plain=300, rounds=3)


if __name__ == "__main__":
    main()
