"""Pack, check and split raw datasets for the commands that train, evaluate or export without the pipeline."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from panvision.cli.configuration import given, load_configuration, pins_of, read_configuration
from panvision.cli.framework import Args
from panvision.cli.options import Engine

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.evaluation.evaluate import Choices, Evaluated, HeldOut
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


class Model(NamedTuple):
    """A model that a dataset is scored with.

    Attributes:
        predictor: with its thresholds.
        config: its configuration.
        pins: of the split.
        fit: True if the score thresholds of boxes are to be chosen on the validation split; else they are the model's.
    """

    predictor: "Predictor"
    config: "Config"
    pins: "Pins"
    fit: bool


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


def _warn_of_leaks(args: Args, packed: Packed, model: Model, images: Literal["test", "all"]) -> None:
    """Print a warning if test images are training images of the model, or may be."""
    from panvision.experiments.promotion import images_to_score, seen_images
    from panvision.inference.origin import data_hash

    info = model.predictor.info
    tested = images_to_score(packed.prepared, packed.splits, info.tasks)
    seen = seen_images(info, tested)
    if seen:
        problem: str | None = f"{len(seen)} of the {len(tested)} test images are its training or validation images"
    elif seen is not None or images == "all" or info.data_sha256 == data_hash(packed.prepared, packed.splits):
        return
    else:
        problem = _doubt(args, model.config.split.pins)
    if problem:
        print(f"warning: {args.model}: {problem}; {_remedy(args, images)}", file=sys.stderr)


def _remedy(args: Args, images: Literal["test", "all"]) -> str:
    """Return what to do against tested training images."""
    if images == "all":
        return "test images that it did not learn from"
    other = ", or test other images with --images all" if hasattr(args, "images") else ""
    return f"name the configuration of its training with --config{other}"


def _doubt(args: Args, pins: str | None) -> str | None:
    """Return why test images may be training images; None if the configuration says how the training split them."""
    from panvision.config import Config
    from panvision.core.params import load_values

    beside = Config.find_in_directory(Path(args.model).parent)
    stated = bool(args.config) or bool(given(args, "split"))
    stated = stated or (beside is not None and "split" in load_values(beside))
    if not stated:
        return (
            "no configuration beside it says how its training split the images, so test images may be training images"
        )
    if pins is not None and not Path(pins).exists():
        return f"its training may have used the pins {pins}, which are missing, so test images may be training images"
    return None


def _check_labels(config: "Config") -> None:
    """Find what makes a training useless before any image is decoded.

    Raises:
        IngestError: the folder or a dataset is absent, or a dataset has no boxes, too many classes, or labels that
            `classification.order` does not name.
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
                broken=any(found.severity == "error" for found in reading.problems),
            )
        )
    found = unfit_datasets(facts, datasets_of(config.tasks), config.classification.order)
    errors = [each for each in found if each.severity == "error"]
    if errors:
        raise IngestError(describe(errors))


def open_model(args: Args, engine: Engine, *, configured: bool = False) -> Model:
    """Load the model file `args.model` for the dataset `args.data_root`.

    The configuration is that of the options, else the newest one beside the model file. Tasks, image size, thresholds
    and order of the states are the model's, unless `--set` names them; so are costs of confusions, if the configuration
    has none.

    Args:
        args: of the command.
        engine: what runs it.
        configured: True if the score threshold `auto` of the configuration counts as well; else only that of `--set`.

    Raises:
        PredictorError: the model cannot be used.
        ParamsError: the configuration cannot be used, or an option would do nothing.
        IngestError: the pins cannot be used.
    """
    from panvision.config import Config
    from panvision.core.states import ClassificationSettings
    from panvision.inference import load_model

    beside = args.config or Config.find_in_directory(Path(args.model).parent)
    known = Args(**{**vars(args), "config": beside})
    config = read_configuration(known)
    predictor, _ = load_model(args.model, load_configuration(beside) if beside else None, **engine)
    named = given(args, "detection")
    fit = config.detection.score_threshold == "auto" and (configured or "score_threshold" in named)
    _check_choice(args, fit=fit)
    thresholds = config.detection.model_dump()
    predictor = predictor.with_thresholds(**{key: value for key, value in thresholds.items() if key in named})
    own = ClassificationSettings(order=predictor.info.state_order or None)
    changes = {
        "data": config.data.model_copy(update={"image_size": predictor.image_size}),
        "tasks": predictor.tasks,
        "classification": config.classification if "order" in given(args, "classification") else own,
    }
    keep = "confusions" not in given(args, "decision", "costs")
    predictor = predictor.with_costs(config.decision.costs.confusions, keep=keep)
    return Model(predictor, config.model_copy(update=changes), pins_of(known, config), fit)


def _check_choice(args: Args, *, fit: bool) -> None:
    """Refuse options about thresholds that are not chosen.

    Raises:
        ParamsError: there are some.
    """
    from panvision.core.params import ParamsError

    useless = [f"decision.{key}" for key in given(args, "decision") if key != "costs"]
    if useless and not fit:
        raise ParamsError(
            f"{useless[0]}: says how thresholds are chosen, but here they are the model's; add --set "
            "detection.score_threshold=auto, or leave it out"
        )
    if fit and getattr(args, "images", "test") == "all":
        raise ParamsError(
            "detection.score_threshold: auto: is chosen on the validation split, which --images all does not have; "
            "name a number"
        )


def score(
    args: Args, model: Model, folder: Path, *, images: Literal["test", "all"] = "test", explain: bool = False
) -> "tuple[Packed, Evaluated]":
    """Pack the datasets and score a model on them; write build/, metrics/ and reports/ below a folder.

    Args:
        args: of the command.
        model: see `open_model`.
        folder: where to write.
        images: the `test` split, with thresholds from the validation split; or `all` images.
        explain: keep activation maps of a checkpoint, for the report.

    Raises:
        IngestError: the data have errors.
        EvaluationError: the model has other classes than the data.
    """
    config = model.config
    packed = pack(config, model.pins, folder / "build", images="all" if images == "all" else "split")
    _warn_of_leaks(args, packed, model, images)
    evaluated = evaluate_packed(model.predictor, config, packed, images=images, fit=model.fit, explain=explain)
    metrics = folder / "metrics"
    evaluated.write(metrics, folder / "reports/plots", folder / "reports/results")
    (packed.metrics / "data.json").replace(metrics / "data.json")
    return packed._replace(metrics=metrics), evaluated


def evaluate_packed(
    predictor: "Predictor",
    config: "Config",
    packed: Packed,
    *,
    images: Literal["test", "all"],
    fit: bool = False,
    explain: bool = False,
) -> "Evaluated":
    """Score a model on the test split of packed datasets; of `all` images, none chooses thresholds.

    Raises:
        EvaluationError: the model has other classes than the data.
    """
    from panvision.evaluation.evaluate import evaluate

    choices: Choices | None = {} if images == "all" else None
    return evaluate(predictor, held_out(config, packed), choices=choices, fit=fit, explain=explain)


def held_out(config: "Config", packed: Packed) -> "HeldOut":
    """Return the images of packed datasets, scored as a configuration says."""
    from panvision.evaluation.evaluate import HeldOut

    order, decision = config.classification.order, config.decision
    return HeldOut(packed.prepared, packed.splits, config.data, config.evaluation, order, decision)
