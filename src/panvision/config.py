"""All rooms' settings together, as one object that is stored beside a model."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Self

from panvision.core.files import write_json
from panvision.core.params import ParamsError, Seed, Settings, Tasks, load_params, read_settings_text
from panvision.core.tasks import TASKS
from panvision.dataset.states import ClassificationSettings
from panvision.evaluation.settings import EvaluationSettings
from panvision.export.settings import ExportSettings
from panvision.inference.settings import DetectionSettings
from panvision.model.settings import ModelSettings
from panvision.photos.settings import DataSettings
from panvision.report.settings import ReportSettings
from panvision.scenes.settings import SceneSettings
from panvision.training.data.settings import AugmentSettings
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.validate.settings import SplitSettings


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
    classification: ClassificationSettings = ClassificationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    export: ExportSettings = ExportSettings()
    report: ReportSettings = ReportSettings()

    @property
    def DEVICE(self) -> str:  # noqa: N802 -- the public name
        """`cuda` where PyTorch sees a GPU, else `cpu` (also where PyTorch is not installed)."""
        try:
            import torch
        except ImportError:
            return "cpu"
        return "cuda" if torch.cuda.is_available() else "cpu"

    @classmethod
    def from_params(cls, path: str | Path = "params.yaml") -> Self:
        """Read a whole params.yaml.

        Raises:
            ParamsError: one message with every error in the file.
        """
        try:
            config = cls.parse(load_params(path))
            config.train.check_weights(config.model.weights)
            return config
        except ParamsError as error:
            prefix = f"{path}: "
            lines = (line.removeprefix(prefix) for line in str(error).splitlines())
            raise ParamsError("\n".join(prefix + line for line in lines)) from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration written by `save`.

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
