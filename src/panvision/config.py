"""The front door: all rooms' settings together, as one object that travels with a model."""

import json
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from panvision.data.settings import AugmentSettings
from panvision.decoding.settings import DetectionSettings
from panvision.evaluation.settings import ClassificationSettings, EvaluationSettings
from panvision.export.settings import ExportSettings
from panvision.files import write_json
from panvision.ingest.settings import DataSettings, SplitSettings
from panvision.model.settings import ModelSettings
from panvision.params import TASKS, ParamsError, Settings, Tasks, load_params
from panvision.report.settings import ReportSettings
from panvision.scenes.settings import SceneSettings
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings


class Config(Settings):
    """Every setting of the system; `Config()` is the system's own configuration (ResNet-50, 256 px).

    Besides these two it has each section of params.yaml, as the settings of the room that reads it: `config.detection`.

    Attributes:
        seed: random numbers of training: order of the batches, augmentation, first weights of what is not pretrained.
        tasks: which heads the model has, any of the three, for single-task baselines. The split stays that of all three
            sets.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    tasks: Tasks = TASKS
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
    def DEVICE(self) -> str:  # noqa: N802 -- the name that users of the system know
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
            ParamsError: one message that lists every fault in the file.
        """
        try:
            return cls.parse(load_params(path))
        except ParamsError as error:
            prefix = f"{path}: "
            lines = (line.removeprefix(prefix) for line in str(error).splitlines())
            raise ParamsError("\n".join(prefix + line for line in lines)) from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration that `save` wrote.

        Raises:
            ParamsError: no such file, not JSON, or values that are not a configuration.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ParamsError(f"{path}: no such configuration file") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ParamsError(f"{path}: not a JSON configuration: {error}") from error
        if not isinstance(values, dict):
            raise ParamsError(f"{path}: not a configuration: expected a JSON object")
        return cls.parse(values)

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
        """Path of the newest `config.json` or `config_<timestamp>.json` in a folder, or None."""
        found = [path for pattern in ("config.json", "config_*.json") for path in Path(directory).glob(pattern)]
        return str(max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))) if found else None
