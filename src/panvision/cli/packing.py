"""What commands do with three raw datasets before they train, evaluate or export: pack, check and split them."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from panvision.cli.configuration import load_configuration, pins_of, read_configuration
from panvision.cli.framework import Args

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.inference.predictor import Predictor
    from panvision.validate.splits.units import Pins


class Packed(NamedTuple):
    """Packed datasets below one folder.

    Attributes:
        prepared: one subfolder per dataset.
        splits, problems: tables as those of the stage `validate`.
        metrics: folder with data.json.
    """

    prepared: Path
    splits: Path
    problems: Path
    metrics: Path

    @classmethod
    def below(cls, build: Path) -> "Packed":
        """Return the paths below a folder."""
        return cls(build / "prepared", build / "splits.csv", build / "problems.csv", build)


def pack(config: "Config", pins: "Pins", build: Path, *, images: Literal["split", "all"] = "split") -> Packed:
    """Pack the datasets of `config.data`, check them and split them, as the pipeline's stages do; print the table.

    Args:
        config: its `data` and `split` sections, `tasks` and the order of the states are used.
        pins: the split of some images.
        build: folder to write below.
        images: `split` them, or `all` of them are the test split.

    Raises:
        IngestError: the data have errors; problems of the split are none if `all` images are tested.
    """
    from panvision.core.tasks import DATASETS
    from panvision.dataset.problems import IngestError
    from panvision.prepare.pack import prepare
    from panvision.validate.verdict import judge, write_verdict

    _check_labels(config)
    packed = Packed.below(build)
    for task in DATASETS:
        prepare(task, config.data, packed.prepared / task)
    verdict = judge(packed.prepared, config.split, pins, tasks=config.tasks, order=config.classification.order)
    if images == "all":
        verdict = verdict.all_tested()
    if verdict.errors:
        raise IngestError(verdict.refusal())
    write_verdict(verdict, packed.splits, packed.problems, packed.metrics / "data.json")
    print(verdict.table(), flush=True)
    return packed


def _check_labels(config: "Config") -> None:
    """Find what makes a training useless before any image is decoded.

    Raises:
        IngestError: the folder or a dataset is absent, a dataset has no boxes or too many classes, or does not fit `classification.order`.
    """
    from panvision.core.tasks import DATASETS, datasets_of
    from panvision.dataset.paths import is_absent
    from panvision.dataset.problems import IngestError, describe
    from panvision.prepare.formats.layout import Reading
    from panvision.prepare.formats.readers import read_set
    from panvision.validate.checks.fitness import LabelFacts, unfit_datasets

    if not Path(config.data.root).is_dir():
        raise IngestError(f"{config.data.root}: no such folder; name the one that holds {', '.join(DATASETS)}")
    facts = []
    for task in DATASETS:
        root = Path(config.data.root) / task
        reading = Reading() if is_absent(root) else read_set(task, root, config.data.pan_names)
        boxes = [len(sample.boxes.labels) for sample in reading.samples if sample.boxes is not None]
        labels = {sample.label for sample in reading.samples}
        facts.append(
            LabelFacts(
                task,
                len(reading.samples),
                reading.classes,
                sum(boxes) if task == "detection" else None,
                labels if task == "classification" else None,
            )
        )
    found = unfit_datasets(facts, datasets_of(config.tasks), config.classification.order)
    errors = [each for each in found if each.severity == "error"]
    if errors:
        raise IngestError(describe(errors))


def open_model(args: Args, device: str | None) -> "tuple[Predictor, Config, Pins]":
    """Load a model for a dataset: with the predictor, its configuration and the pins of the split.

    The configuration is that of the options, else the newest one beside the model file. Tasks, image size and order of
    the states are the model's.

    Raises:
        PredictorError: the model cannot be used.
        ParamsError: the configuration cannot be used.
        IngestError: the pins cannot be used.
    """
    from panvision.config import Config
    from panvision.core.states import ClassificationSettings
    from panvision.inference import load_model

    beside = args.config or Config.find_in_directory(Path(args.model).parent)
    known = Args(**{**vars(args), "config": beside})
    config, pins = read_configuration(known), pins_of(known, read_configuration(known))
    predictor, _ = load_model(args.model, load_configuration(beside) if beside else None, device)
    changes = {
        "data": config.data.model_copy(update={"image_size": predictor.image_size}),
        "tasks": predictor.tasks,
        "classification": ClassificationSettings(order=predictor.info.state_order or None),
    }
    return predictor, config.model_copy(update=changes), pins
