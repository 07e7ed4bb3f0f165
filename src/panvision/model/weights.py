"""First weights of the backbone: torchvision's ImageNet weights, a file, or none."""

import contextlib
import pickle
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from panvision.model.backbones.backbone import Backbone
from panvision.model.checkpoint import UnreadableError, read_plain, some_names
from panvision.model.settings import ModelSettings

# torchvision's best ImageNet weights of each backbone: its name for them, and the file.
IMAGENET = {
    "resnet18": ("ResNet18_Weights.IMAGENET1K_V1", "resnet18-f37072fd.pth"),
    "resnet34": ("ResNet34_Weights.IMAGENET1K_V1", "resnet34-b627a593.pth"),
    "resnet50": ("ResNet50_Weights.IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
    "resnet101": ("ResNet101_Weights.IMAGENET1K_V2", "resnet101-cd907fc2.pth"),
}
IMAGENET_SITE = "https://download.pytorch.org/models"
DOWNLOAD_TIMEOUT_S = 10.0
# Wrappers that a state dict may come in, and prefixes that its keys may bear.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "backbone.", "encoder.")
# A classifier's last layer has no place in a backbone.
IGNORED = ("fc.",)


class WeightsError(ValueError):
    """Initial weights that cannot be had or do not fit; the message names the file and the ways out."""


@dataclass(frozen=True)
class WeightsReport:
    """What of a state dict went into the backbone.

    Attributes:
        source: where the weights came from.
        matched: names loaded.
        missing: names of the backbone that the source lacks; they keep their random values.
        unexpected: names of the source that the backbone lacks.
        mismatched: names in both with different shapes; the backbone keeps its random values.
    """

    source: str
    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.matched:
            return f"backbone weights: {self.source}"
        lines = [f"backbone weights: {len(self.matched)} tensors from {self.source}"]
        for kind in ("missing", "unexpected", "mismatched"):
            names = getattr(self, kind)
            if names:
                modules = sorted({name.split(".")[0] for name in names})
                lines.append(f"  {kind}: {len(names)} tensors ({', '.join(modules)})")
        return "\n".join(lines)


def check_weights(settings: ModelSettings) -> None:
    """Find out in the first seconds, before any data are read, whether `model.weights` can be had.

    Raises:
        WeightsError: as `initialise_backbone`.
    """
    if settings.weights != "none":
        initialise_backbone(Backbone(settings.backbone), settings)


def initialise_backbone(backbone: Backbone, settings: ModelSettings) -> WeightsReport:
    """Fill a backbone with the weights that `model.weights` names.

    Raises:
        WeightsError: the weights cannot be had, or nothing of them fits.
    """
    if settings.weights == "none":
        return WeightsReport("none, random values")
    if settings.weights == "imagenet":
        source, state = _imagenet(settings.backbone)
    else:
        source, state = settings.weights, _from_file(Path(settings.weights))
    return _fill(backbone, state, source)


def _imagenet(name: str) -> tuple[str, dict[str, Tensor]]:
    """ImageNet weights of torchvision (its best ones), from its cache or its download."""
    if name not in IMAGENET:
        raise WeightsError(f"model.weights: no ImageNet weights exist for {name}; set it to none or to a file's path")
    title, file_name = IMAGENET[name]
    url = f"{IMAGENET_SITE}/{file_name}"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    remedy = f"put {file_name} ({url}) into {folder} by hand, or set model.weights to none or to a state dict's path"
    try:
        with _download_timeout():
            state = torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"model.weights: {file_name} is not in {folder} and cannot be downloaded ({error}); {remedy}"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AssertionError) as error:
        if not (folder / file_name).exists():
            raise WeightsError(
                f"model.weights: {file_name} arrived damaged ({error}); try again, or {remedy}"
            ) from error
        raise WeightsError(f"model.weights: {folder / file_name} is damaged; delete it, then {remedy}") from error
    return f"torchvision {title}", state


@contextlib.contextmanager
def _download_timeout() -> Iterator[None]:
    """torch.hub sets no timeout of its own; behind a closed firewall it would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_file(path: Path) -> dict[str, Tensor]:
    """A state dict from a file, unwrapped, its keys without prefixes."""
    try:
        document = read_plain(path)
    except FileNotFoundError as error:
        raise WeightsError(
            f"model.weights: {path}: no such file; set it to imagenet, none or a state dict's path"
        ) from error
    except UnreadableError as error:
        raise WeightsError(f"model.weights: {path}: not a readable state dict: {error}") from error
    for wrapper in WRAPPERS:
        if isinstance(document, dict) and isinstance(document.get(wrapper), dict):
            document = document[wrapper]
    if not isinstance(document, dict):
        raise WeightsError(f"model.weights: {path}: holds a {type(document).__name__}, not a state dict")
    return {_bare(str(name)): value for name, value in document.items() if isinstance(value, Tensor)}


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _fill(backbone: Backbone, state: dict[str, Tensor], source: str) -> WeightsReport:
    own = backbone.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith(IGNORED)}
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise WeightsError(
            f"model.weights: {source}: nothing in it fits the backbone; expected torchvision's names, such as "
            f"conv1.weight {tuple(own['conv1.weight'].shape)}"
        )
    broken = sorted(name for name, value in fitting.items() if not bool(value.isfinite().all()))
    if broken:
        raise WeightsError(
            f"model.weights: {source}: not finite: {some_names(broken)}; the training that wrote it has diverged"
        )
    backbone.load_state_dict(fitting, strict=False)
    return WeightsReport(
        source,
        matched=tuple(sorted(fitting)),
        # num_batches_tracked counts steps and changes nothing; old files lack it.
        missing=tuple(sorted(name for name in own if name not in state and not name.endswith("num_batches_tracked"))),
        unexpected=tuple(sorted(name for name in state if name not in own)),
        mismatched=tuple(sorted(name for name in state if name in own and name not in fitting)),
    )
