"""What is wrong with each test picture, from its results: why it counts as one of the worst, in words with figures."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from panvision.evaluation.results import BoxImage, MaskImage, Results, StateImage

# A mask or a box that overlaps the true one by less does not count as found; a box that does so by less than TIGHT
# is loose.
FOUND, TIGHT = 0.5, 0.75
# A mask that covers less than so much of the pan, or of which less than so much is pan, is more than ragged.
HALF = 0.5
# A mask is ragged from this error of its boundary on (95th percentile, share of the picture's diagonal), or below
# this IoU.
RAGGED_EDGE, RAGGED_IOU = 0.02, 0.9
# A state answered right with less than this is one picture's luck.
SURE = 0.5
# A box of the right class that touches the object at all.
TOUCHES = 0.1


class Kind(NamedTuple):
    """A kind of fault: its name, and what it means."""

    name: str
    meaning: str


MISSED = Kind("missed", "what is there is not found")
WRONG_CLASS = Kind("wrong class", "found, but called something else")
FALSE_ALARM = Kind("false alarm", "something is found where it is not, or twice")
LOOSE_BOX = Kind("loose box", f"found, but box and object overlap (IoU) by less than {TIGHT}")
RAGGED_MASK = Kind(
    "ragged mask",
    f"IoU below {RAGGED_IOU}, or a twentieth of the boundary is off by more than {RAGGED_EDGE:.0%} of the diagonal",
)
UNSURE = Kind("unsure", f"right, with a probability below {SURE:.0%}")
KINDS = (MISSED, WRONG_CLASS, FALSE_ALARM, LOOSE_BOX, RAGGED_MASK, UNSURE)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a picture.

    Attributes:
        kind: which of `KINDS`.
        text: what it is, with its figures.
        weight: how much it counts, above 0 and at most 1.
    """

    kind: Kind
    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Faulty:
    """A picture with faults.

    Attributes:
        file: its path below `<data.root>/<task>`.
        badness: pictures with more of it are worse; comparable within a task.
        faults: at least one, the gravest first.
    """

    file: str
    badness: float
    faults: list[Fault]

    @property
    def kinds(self) -> list[Kind]:
        """Each kind of its faults once."""
        return list(dict.fromkeys(fault.kind for fault in self.faults))


def find_faults(results: Results, score_threshold: float) -> list[Faulty]:
    """A task's pictures with faults, the worst first; ties by file name.

    Args:
        results: of one task.
        score_threshold: boxes scoring lower are not reported, so neither help nor harm.
    """
    judges: dict[str, Callable[[], Iterable[Faulty | None]]] = {
        "segmentation": lambda: map(_judge_mask, results.images),
        "detection": lambda: (_judge_boxes(image, results.classes, score_threshold) for image in results.images),
        "classification": lambda: (_judge_state(image, results.classes) for image in results.images),
    }
    found = [faulty for faulty in judges[results.task]() if faulty is not None]
    return sorted(found, key=lambda faulty: (-faulty.badness, faulty.file))


def count_kinds(faulty: Sequence[Faulty]) -> list[tuple[Kind, int]]:
    """How many pictures have faults of each kind, in the order of `KINDS`; kinds that none has are left out."""
    counts = Counter(kind for each in faulty for kind in each.kinds)
    return [(kind, counts[kind]) for kind in KINDS if counts[kind]]


def _judge_mask(image: MaskImage) -> Faulty | None:
    """The mask of a picture; it is the worse, the lower its IoU, and a mask where no pan is counts as IoU 0."""
    tp, fp, fn, tn = image["pixels"]
    iou = tp / max(tp + fp + fn, 1)
    edge = image["boundary"]
    faults = []
    if not tp + fn:
        if fp:
            text = f"There is no pan, and {fp} pixels are marked, {_percent(fp / (fp + tn))} of the picture."
            faults.append(Fault(FALSE_ALARM, text))
    elif tp < HALF * (tp + fn):
        covered = f"covers {_percent(tp / (tp + fn))} of the pan" if tp + fp else "is empty, and there is a pan"
        faults.append(Fault(MISSED, f"The mask {covered}."))
    elif tp < HALF * (tp + fp):
        faults.append(Fault(FALSE_ALARM, f"Of the mask, {_percent(fp / (tp + fp))} is not the pan."))
    elif iou < RAGGED_IOU or (edge and edge["p95"] > RAGGED_EDGE * _diagonal(image)):
        off = f"; its boundary is off by {edge['mean']:.1f} px on average, {edge['p95']:.1f} px at p95" if edge else ""
        text = f"The mask covers {_percent(tp / (tp + fn))} of the pan, and {_percent(fp / (tp + fp))} of it is not pan"
        faults.append(Fault(RAGGED_MASK, f"{text}{off}."))
    return Faulty(image["file"], 1.0 - iou, faults) if faults else None


def _diagonal(image: MaskImage) -> float:
    return float((image["width"] ** 2 + image["height"] ** 2) ** 0.5)


def _judge_state(image: StateImage, names: Sequence[str]) -> Faulty | None:
    """The state of a picture; it is the worse, the less probable its true state was called."""
    probabilities, true = image["probabilities"], image["truth"]
    said = max(range(len(probabilities)), key=lambda label: probabilities[label])
    chance = probabilities[true]
    if said != true:
        text = f"Called {names[said]} with {_percent(probabilities[said])}; {names[true]}, the truth, "
        fault = Fault(WRONG_CLASS, f"{text}got {_percent(chance)}.")
    elif chance < SURE:
        rival = max((label for label in range(len(names)) if label != true), key=lambda label: probabilities[label])
        text = f"{names[true]} is right, with {_percent(chance)}; {names[rival]} got {_percent(probabilities[rival])}."
        fault = Fault(UNSURE, text)
    else:
        return None
    # A wrong answer is worse than any right one.
    return Faulty(image["file"], 1.0 - chance + (said != true), [fault])


class _Box(NamedTuple):
    """A found box: its place in the results, what it is called, its score and its four edges."""

    place: int
    name: str
    score: float
    edges: list[float]


def _judge_boxes(image: BoxImage, names: Sequence[str], score_threshold: float) -> Faulty | None:
    """The boxes of a picture; it is the worse, the heavier its faults are in sum."""
    truth, found = image["truth"], image["found"]
    boxes = [
        _Box(place, names[label], score, edges)
        for place, (label, score, edges) in enumerate(
            zip(found["labels"], found["scores"], found["boxes"], strict=True)
        )
    ]
    reported = [box for box in boxes if box.score >= score_threshold]
    match = found["match"]
    holder = {match[box.place]: box for box in boxes if match[box.place] >= 0}
    spare = [box for box in reported if match[box.place] < 0]
    faults = []
    for row, (edges, label) in enumerate(zip(truth["boxes"], truth["labels"], strict=True)):
        own = holder.get(row)
        if own is not None and own.score >= score_threshold:
            overlap = box_iou(own.edges, edges)
            if overlap < TIGHT:
                weight = min(1.0, (TIGHT - overlap) / (TIGHT - FOUND))
                faults.append(
                    Fault(LOOSE_BOX, f"{_scored(own)}: IoU {_floored(overlap)} with the object.", max(0.1, weight))
                )
        else:
            faults.append(_unfound(names[label], edges, own, spare, score_threshold))
    for box in spare:
        again = found["iou"][box.place] >= FOUND
        where = "where an object of this class has its box already" if again else "where there is none"
        faults.append(Fault(FALSE_ALARM, f"{_scored(box)} {where}."))
    faults.sort(key=lambda fault: (-fault.weight, KINDS.index(fault.kind)))
    return Faulty(image["file"], round(sum(fault.weight for fault in faults), 6), faults) if faults else None


def _unfound(name: str, edges: list[float], faint: _Box | None, spare: list[_Box], score_threshold: float) -> Fault:
    """Why an object has no box. A box that explains it is taken out of `spare`, for it is no false alarm besides."""
    overlaps = sorted(((box_iou(box.edges, edges), box) for box in spare), key=lambda pair: (-pair[0], pair[1].place))
    for overlap, box in overlaps:
        # A box of its class that overlapped it enough would be its match.
        if box.name == name and overlap >= TOUCHES:
            spare.remove(box)
            return Fault(LOOSE_BOX, f"{_scored(box)}: IoU {_floored(overlap)} with the object, too little to count.")
        if overlap >= FOUND:
            spare.remove(box)
            return Fault(WRONG_CLASS, f"The {name} is called {_scored(box)}, IoU {overlap:.2f}.")
    if faint is not None:
        return Fault(MISSED, f"The {name} is missed: its box scores {faint.score:.2f}, below {score_threshold:g}.")
    return Fault(MISSED, f"The {name} is missed.")


def _scored(box: _Box) -> str:
    return f"{box.name} {box.score:.2f}"


def _floored(overlap: float) -> str:
    """Two decimals, rounded down: what lies below a limit does not look like the limit."""
    return f"{math.floor(overlap * 100) / 100:.2f}"


def _percent(share: float) -> str:
    """A share in words; one that is not 0 never looks like 0, nor one below 1 like 1."""
    if 0.0 < share < 0.01:
        return "less than 1%"
    return f"{min(share, 0.99 if share < 1.0 else 1.0):.0%}"


def box_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)
