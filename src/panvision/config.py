"""All rooms' settings together, as one object that is stored beside a model."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Self

from panvision.core.files import write_json
from panvision.core.params import (
    ParamsError,
    Seed,
    Settings,
    Tasks,
    load_values,
    override,
    read_settings_text,
)
from panvision.core.states import ClassificationSettings
from panvision.core.tasks import TASKS
from panvision.evaluation.settings import EvaluationSettings
from panvision.export.settings import ExportSettings
from panvision.inference.settings import DecisionSettings, DetectionSettings
from panvision.model.settings import ModelSettings
from panvision.photos.settings import DataSettings
from panvision.report.settings import ReportSettings
from panvision.scenes.settings import SceneSettings
from panvision.training.data.settings import AugmentSettings
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.validate.settings import SplitSettings


class _Original(property):
    """A setting under its name in the original system's flat configuration.

    Attributes:
        key: the setting's dotted key.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(attrgetter(key), doc=f"The setting `{key}`, as the original system called it.")


class Config(Settings):
    """Every setting of the system; `Config()` is the default configuration (ResNet-50, 256 px).

    The sections of params.yaml are the settings of the rooms that read them, for example `config.detection`.

    Attributes:
        seed: random numbers of training: order of the batches, augmentation, first weights of layers without pretrained
            ones.
        tasks: the heads of the model, any of the three. Only their datasets are needed; the split is that of all
            datasets that are there.
    """

    seed: Seed = 42
    tasks: Tasks = tuple(TASKS)
    scenes: SceneSettings = SceneSettings()
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    augment: AugmentSettings = AugmentSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
    tracking: TrackingSettings = TrackingSettings()
    detection: DetectionSettings = DetectionSettings()
    decision: DecisionSettings = DecisionSettings()
    classification: ClassificationSettings = ClassificationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    export: ExportSettings = ExportSettings()
    report: ReportSettings = ReportSettings()

    # The names of the original system, read-only.
    FPN_CHANNELS: ClassVar = _Original("model.fpn_channels")
    FPN_STRIDES: ClassVar = _Original("model.strides")
    DETECTION_SCORE_THRESHOLD: ClassVar = _Original("detection.score_threshold")
    NMS_IOU_THRESHOLD: ClassVar = _Original("detection.nms_threshold")
    BATCH_SIZE: ClassVar = _Original("train.batch_size")
    NUM_EPOCHS_PHASE1: ClassVar = _Original("train.phase1.epochs")
    NUM_EPOCHS_PHASE2: ClassVar = _Original("train.phase2.epochs")
    LR_PHASE1: ClassVar = _Original("train.phase1.lr")
    LR_PHASE2: ClassVar = _Original("train.phase2.lr")
    WEIGHT_SEG: ClassVar = _Original("loss.seg")
    WEIGHT_DET: ClassVar = _Original("loss.det")
    WEIGHT_CLS: ClassVar = _Original("loss.cls")
    FOCAL_GAMMA: ClassVar = _Original("loss.focal_gamma")
    FOCAL_ALPHA: ClassVar = _Original("loss.focal_alpha")
    USE_WANDB: ClassVar = _Original("tracking.wandb.enabled")
    WANDB_PROJECT: ClassVar = _Original("tracking.wandb.project")
    WANDB_ENTITY: ClassVar = _Original("tracking.wandb.entity")

    @property
    def NUM_SEG_CLASSES(self) -> int:  # noqa: N802 -- the original name
        """1: the mask has one class, the pan."""
        return 1

    @property
    def USE_FOCAL_LOSS(self) -> bool:  # noqa: N802 -- the original name
        """True if the classification head is trained with the focal loss; detection always is."""
        return self.loss.state == "focal"

    @property
    def DEVICE(self) -> str:  # noqa: N802 -- the public name
        """`cuda` where PyTorch sees a GPU, else `cpu` (also where PyTorch is not installed)."""
        try:
            import torch
        except ImportError:
            return "cpu"
        return "cuda" if torch.cuda.is_available() else "cpu"

    def changed(self, *assignments: str) -> Self:
        """Return a copy with some settings changed, as `--set` does it.

        Args:
            assignments: each `section.key=value`, the value in YAML, for example `train.batch_size=4`.

        Raises:
            ParamsError: one message with every error.
        """
        return self.parse(override(self.model_dump(mode="json"), assignments))

    def with_pins(self, pins: Collection[Any]) -> Self:
        """Return a copy that names no pins if none were used: beside a model it must split as the training did."""
        return self if pins else self.model_copy(update={"split": self.split.model_copy(update={"pins": None})})

    @classmethod
    def from_params(cls, path: str | Path = "params.yaml") -> Self:
        """Read a whole params.yaml.

        Raises:
            ParamsError: one message with every error in the file.
        """
        try:
            config = cls.parse(load_values(path))
            config.train.check_weights(config.model.weights)
            config.loss.check_order(config.classification.order)
            return config
        except ParamsError as error:
            prefix = f"{path}: "
            lines = (line.removeprefix(prefix) for line in str(error).splitlines())
            raise ParamsError("\n".join(prefix + line for line in lines)) from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration written by `save`, or a flat one of the original system.

        Raises:
            ParamsError: no such file, not JSON, or not a configuration.
        """
        text = read_settings_text(path, kind="a JSON configuration", missing="no such configuration file")
        try:
            values = json.loads(text, object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError) as error:
            raise ParamsError(f"{path}: not a JSON configuration: {error}") from error
        if not isinstance(values, dict):
            raise ParamsError(f"{path}: not a configuration: expected a JSON object")
        try:
            values = _from_original(values)
            _update_keys(values)
            return cls.parse(values)
        except ParamsError as error:
            raise ParamsError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error

    def save(self, path: str | Path | None = None) -> None:
        """Write the configuration as JSON, whole or not at all.

        `config.save(path)` writes this one; `Config.save(path)`, called on the class, the defaults.
        """
        if not isinstance(self, Config):
            Config().save(self)
            return
        if path is None:
            raise TypeError("Config.save needs the path to write to")
        write_json(path, self.model_dump(mode="json"))

    @staticmethod
    def find_in_directory(directory: str | Path) -> str | None:
        """Return the path of the newest `config.json` or `config_<timestamp>.json` in a folder, or None."""
        patterns = ("config.json", "config_*.json")
        found = [path for pattern in patterns for path in Path(directory).glob(pattern) if path.is_file()]
        return str(max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))) if found else None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, and refuse duplicate keys, of which Python would silently keep the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        duplicate = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"duplicate key {duplicate!r}; keep one")
    return values


# Names of the original system → keys. The device is chosen by each command, and the mask always has one class.
_KEYS = {
    **{name: each.key for name, each in vars(Config).items() if isinstance(each, _Original)},
    "USE_FOCAL_LOSS": "loss.state",
    "NUM_SEG_CLASSES": None,
    "DEVICE": None,
}


def _from_original(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a flat configuration of the original system, all in capitals, in sections; others as they are.

    Raises:
        ParamsError: listing every name that is not the original system's.
    """
    if not values or not all(name.isupper() for name in values):
        return values
    unknown = [name for name in values if name not in _KEYS]
    if unknown:
        known = ", ".join(_KEYS)
        raise ParamsError("\n".join(f"{name}: not a name of the original system; known: {known}" for name in unknown))
    assignments = []
    for name, value in values.items():
        switch = name == "USE_FOCAL_LOSS" and isinstance(value, bool)
        if (key := _KEYS[name]) is not None:
            written = {True: "focal", False: "cross_entropy"}[value] if switch else json.dumps(value)
            assignments.append(f"{key}={written}")
    return override({}, assignments)


# Keys that configurations of earlier versions have, and which nothing replaces.
_REMOVED = ("evaluation.resamples", "evaluation.seed", "split.near_duplicate_bits")


def _update_keys(values: Mapping[str, Any]) -> None:
    """Replace the keys of an earlier version in a configuration that it saved, beside a model for example."""
    for section, key in (name.split(".") for name in _REMOVED):
        if isinstance(values.get(section), dict):
            values[section].pop(key, None)
    train = values.get("train")
    phase = train.get("phase2") if isinstance(train, dict) else None
    if isinstance(phase, dict):
        backbone_lr = phase.pop("backbone_lr", None)
        if backbone_lr and phase.get("lr"):
            phase["backbone_factor"] = backbone_lr / phase["lr"]
