"""`panvision promote`: may a new model replace the current one? Both are scored on the same images."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.cli.exits import Exit
from panvision.cli.failures import UsageError, explanation
from panvision.cli.framework import Args, command
from panvision.cli.options import (
    FILE,
    FOLDER,
    FRACTION,
    against,
    argument,
    engine,
    engine_of,
    images,
    json_flag,
    option,
    settings,
)
from panvision.cli.packing import Model, Packed, evaluate_packed, open_model, pack
from panvision.cli.status import narrated_on_stderr

if TYPE_CHECKING:
    from panvision.experiments.promotion import Promotion
    from panvision.experiments.registry import Registration


@command(
    about="Scores two model files on the same images and decides by paired 95 % intervals if the new one may replace "
    "the current one: better, not worse by more than --max_drop, worse, or undecided. Both may be a checkpoint, an "
    "ONNX file or an INT8 one; tasks and classes must be equal. Images that either model was trained on are an error.",
    examples={
        "a new model against the one in use": "panvision promote models/panvision.onnx --against "
        "released/panvision.onnx --data data/demo",
        "in CI, on photos that neither model has seen": "panvision promote models/panvision.int8.onnx --against "
        "models/panvision.onnx --data photos --images all --max_drop 0.01 --record promotion.json",
        "and register it": "panvision promote models/panvision.onnx --against released/panvision.onnx --data data/demo "
        "--register v1.1.0",
    },
    exits={
        Exit.DONE: "better or not worse: every headline metric",
        Exit.ERROR: "worse or undecided: at least one headline metric",
        Exit.USAGE: "wrong usage, models or data",
    },
    sections={
        "arguments": [
            argument("new", "Model file: .pth, .pt or .onnx.", type=FILE, metavar="NEW"),
            against("the model in use", required=True),
            option(
                "--data",
                "Folder with segmentation/, detection/ and classification/.",
                type=FOLDER,
                required=True,
                metavar="DATA_ROOT",
            ),
        ],
        "decision": [
            option("--max_drop", "Largest loss of a metric that counts as not worse.", type=FRACTION, default=0.02),
            option(
                "--register",
                "Tag the new model as this version, v1.2.3, of its artifact in dvc.yaml if it is better or not worse.",
                metavar="VERSION",
            ),
        ],
        "settings": [
            images(),
            *settings("the newest JSON configuration beside the new model file, if any"),
            *engine(),
        ],
        "output": [
            json_flag(
                "decision, passed, max_drop, tasks, new, current, data and registered; progress goes to standard error"
            ),
            option("--record", "Write the same JSON there, with every image that became wrong or right.", type=FILE),
        ],
    },
)
def run(args: Args) -> int:
    """Score both, decide and print; returns 1 if the new model is worse or the decision is open."""
    with _usage_errors():
        # Before the scoring, which takes minutes.
        registration = _registration(args)
        with narrated_on_stderr() if args.json else contextlib.nullcontext():
            promotion, record = _promote(args)
        # Before the tag, so that a failure of git loses nothing.
        _write_record(args, record)
    try:
        with _usage_errors():
            if tag := _register(registration, promotion, record):
                record["registered"] = tag
                _write_record(args, record)
    finally:
        _say(args, promotion, record)
    return Exit.DONE if promotion.passed else Exit.ERROR


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """Raise what the user can fix as UsageError, because exit code 1 is a decision here."""
    try:
        yield
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
        raise UsageError(message) from error


def _registration(args: Args) -> "Registration | None":
    from panvision.experiments.registry import prepare_registration

    return None if args.register is None else prepare_registration(args.new, args.register)


def _promote(args: Args) -> "tuple[Promotion, dict[str, Any]]":
    """Score both models; return the decision and the record of it."""
    from panvision.evaluation.slices import read_facts
    from panvision.experiments.promotion import check_models, decide
    from panvision.inference.origin import data_hash

    # The new model's configuration decides on the split; each model has its own thresholds.
    models = {"new": _open(args, args.new, args.config), "current": _open(args, args.against, None)}
    check_models(models["new"].predictor.info, models["current"].predictor.info)
    config = models["new"].config
    with tempfile.TemporaryDirectory(prefix="panvision-") as folder:
        packed = pack(config, models["new"].pins, Path(folder), images="all" if args.images == "all" else "split")
        _check_origins(args, packed, models)
        evaluated = {
            name: evaluate_packed(model.predictor, config, packed, images=args.images, fit=model.fit)
            for name, model in models.items()
        }
        facts = read_facts(packed.prepared)
        data = {"root": args.data, "images": args.images, "sha256": data_hash(packed.prepared, packed.splits)}
    promotion = decide(evaluated["current"], evaluated["new"], facts, args.max_drop)
    described = {name: _describe(path, models[name]) for name, path in _paths(args).items()}
    return promotion, {**promotion.to_json(), **described, "data": data, "registered": None}


def _write_record(args: Args, record: Mapping[str, Any]) -> None:
    from panvision.core.files import write_json

    if args.record:
        write_json(args.record, record)


def _say(args: Args, promotion: "Promotion", record: Mapping[str, Any]) -> None:
    from panvision.experiments.promotion_text import text

    if args.json:
        print(json.dumps(record, indent=2, ensure_ascii=False))
        return
    print(text(promotion))
    if args.register is not None:
        print(_registered_text(record["registered"]))


def _paths(args: Args) -> dict[str, str]:
    return {"new": args.new, "current": args.against}


def _open(args: Args, path: str, config: str | None) -> Model:
    return open_model(
        Args(**{**vars(args), "model": path, "config": config, "data_root": args.data, "data_root_option": None}),
        engine_of(args),
    )


def _check_origins(args: Args, packed: Packed, models: Mapping[str, Model]) -> None:
    """Refuse images that a model learned from; print what cannot be checked, and if the models' data differ.

    Raises:
        PromotionError: some images are training images of a model.
    """
    from panvision.experiments.promotion import check_unseen, images_to_score
    from panvision.inference.origin import MOST_IMAGES

    infos = {path: models[name].predictor.info for name, path in _paths(args).items()}
    tested = images_to_score(packed.prepared, packed.splits, models["new"].predictor.tasks)
    for path, info in infos.items():
        if not check_unseen(path, info, tested):
            text = (
                "does not name its training images, so the images scored here may be among them; export it again, "
                f"unless it learned from more than {MOST_IMAGES:,} images, which no file names"
            )
            print(f"warning: {path}: {text}", file=sys.stderr)
    hashes = {info.data_sha256 for info in infos.values()}
    if len(hashes) > 1 and None not in hashes:
        text = "the models were made from other data or another split; here both are scored on the same images"
        print(f"note: {text}", file=sys.stderr)


def _describe(path: str, model: Model) -> dict[str, Any]:
    from panvision.inference.origin import file_hash

    info = model.predictor.info
    return {
        "file": path,
        "sha256": file_hash(Path(path)),
        "params_sha256": info.params_sha256,
        "data_sha256": info.data_sha256,
        "training_images_known": info.training_images is not None,
    }


def _register(registration: "Registration | None", promotion: "Promotion", record: Mapping[str, Any]) -> str | None:
    """Make the tag of a model that passed, with the record less its images as message; return its name."""
    if registration is None or not promotion.passed:
        return None
    tasks = {
        task: {key: found[key] for key in ("images", "groups", "metrics")} for task, found in record["tasks"].items()
    }
    kept = {key: value for key, value in record.items() if key != "registered"}
    short = json.dumps({**kept, "tasks": tasks}, indent=2, ensure_ascii=False)
    registration.write(f"{promotion.decision} against {record['current']['file']}\n\n{short}\n")
    return registration.tag


def _registered_text(tag: str | None) -> str:
    if tag is None:
        return "\nnot registered"
    return f"\nregistered: {tag}; share it with `dvc push` and `git push origin {tag}`"
