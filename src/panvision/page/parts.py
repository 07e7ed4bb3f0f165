"""Pieces of the page as HTML. Every name that comes from outside, of a file or in a model, is escaped here."""

import time
from collections.abc import Iterable, Sequence
from html import escape

from panvision.inference.backend import ModelInfo
from panvision.inference.results import BoxResult, StateResult
from panvision.monitor.events import Event
from panvision.page.facts import Facts
from panvision.page.scores import Score
from panvision.photos.drawing import class_color

ANSWERS = {"segmentation": "mask", "detection": "boxes", "classification": "state"}
HEADLINE = ("mIoU", "mAP@0.5", "accuracy")
STATE_COLOURS = 8  # that page.css has


def header(facts: Facts) -> str:
    """Which model is speaking, in a line or two."""
    info = facts.info
    said = [f"{info.image_size} px", " + ".join(ANSWERS[task] for task in info.tasks)]
    said += [
        f"{row.name} {_number(row.value)}" for row in facts.scores.rows if row.name in ("mIoU", "mAP@0.5", "accuracy")
    ]
    chips = "".join(f"<span class=pv-chip>{escape(text)}</span>" for text in said)
    return (
        "<div class=pv-head><h1>panvision</h1><div class=pv-model>"
        f"<b>{escape(facts.name)}</b> <code title='SHA-256 {facts.sha256}'>{facts.sha256[:12]}</code></div>"
        f"<div class=pv-chips>{chips}</div></div>"
    )


def model_panel(facts: Facts) -> str:
    """All that is known of the model: file, origin, classes, scores."""
    info = facts.info
    rows = [
        ("File", f"{escape(facts.name)}, {facts.size / 1e6:.1f} MB"),
        ("SHA-256", _code(facts.sha256)),
        ("Settings", _code(info.params_sha256)),
        ("Data", _code(info.data_sha256)),
        ("Input", f"{info.image_size} × {info.image_size} pixels"),
        ("Backbone", escape(facts.scores.backbone or "")),
        ("Answers", escape(", ".join(ANSWERS[task] for task in info.tasks))),
        ("Boxes of", escape(", ".join(info.det_class_names))),
        ("States", escape(_in_order(info))),
    ]
    listed = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows if value)
    return (
        f"<div class=pv-cards><section class=pv-card><h3>Model</h3><table class='pv-table pv-facts'>{listed}</table>"
        f"</section><section class=pv-card><h3>Scores</h3>{_score_table(facts.scores.rows)}"
        f"<p class=pv-note>{escape(facts.scores.about)}</p></section></div>"
    )


def _in_order(info: ModelInfo) -> str:
    return " → ".join(info.state_order) if info.state_order else ", ".join(info.cls_class_names)


def _score_table(rows: Sequence[Score]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><th>{escape(row.name)}</th><td class=pv-n>{_number(row.value)}</td><td class=pv-n>"
        + (f"{row.interval[0]:.3f} – {row.interval[1]:.3f}" if row.interval else "")
        + "</td></tr>"
        for row in rows
    )
    head = "<tr><th>Figure</th><th class=pv-n>Value</th><th class=pv-n>95 % interval</th></tr>"
    return f"<table class=pv-table><thead>{head}</thead><tbody>{lines}</tbody></table>"


def state_card(state: StateResult, order: Sequence[str], decided: str | None = "") -> str:
    """Every state with its probability as a bar.

    Args:
        state: what the model says.
        order: of the bars; empty: the model's own.
        decided: the state of a watched pan, None while there is none yet; "": this is one picture.
    """
    probabilities = state["probabilities"]
    bars = "".join(
        f"<div class='pv-bar{' pv-best' if name == state['class_name'] else ''}'><span>{escape(name)}</span>"
        f"<i><u style='width:{100 * probabilities[name]:.1f}%'></u></i><b>{probabilities[name]:.0%}</b></div>"
        for name in (order or probabilities)
    )
    note = "<p class=pv-note>Undecided so far.</p>" if decided is None else ""
    return f"<section class=pv-card><h3>State</h3><div class=pv-bars>{bars}</div>{note}</section>"


def boxes_card(found: BoxResult, width: int, height: int) -> str:
    """Boxes, best first, with their place in the picture's own pixels."""
    rows = "".join(
        f"<tr><th><s style='background:rgb{class_color(label)}'></s>{escape(name)}</th><td class=pv-n>{score:.2f}</td>"
        + "".join(f"<td class=pv-n>{edge:.0f}</td>" for edge in box)
        + "</tr>"
        for box, label, score, name in zip(
            found["boxes"], found["labels"], found["scores"], found["class_names"], strict=True
        )
    )
    head = "".join(f"<th class=pv-n>{name}</th>" for name in ("Score", "Left", "Top", "Right", "Bottom"))
    table = f"<table class=pv-table><thead><tr><th>Class</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    none = "<p class=pv-note>None scores above the threshold.</p>"
    title = f"<h3>Boxes <small>{width} × {height} pixels</small></h3>"
    return f"<section class=pv-card>{title}{table if rows else none}</section>"


def cards(*parts: str) -> str:
    """Cards side by side where there is room."""
    return f"<div class=pv-cards>{''.join(parts)}</div>"


def events_card(events: Iterable[Event], *, clock: float | None = None) -> str:
    """What happened, the newest first.

    Args:
        events: in the order of their happening.
        clock: what is to be added to their times to give seconds since 1970; None: they are seconds of a clip.
    """
    rows = "".join(
        f"<tr><td class=pv-n>{_moment(event.time, clock)}</td><th>{escape(_what(event))}</th>"
        f"<td class=pv-n>{event.confidence:.0%}</td></tr>"
        for event in reversed(list(events))
    )
    head = "<tr><th class=pv-n>Time</th><th>Event</th><th class=pv-n>Confidence</th></tr>"
    table = f"<table class=pv-table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    none = "<p class=pv-note>Nothing has happened yet.</p>"
    return f"<section class=pv-card><h3>Events</h3>{table if rows else none}</section>"


def _what(event: Event) -> str:
    if event.after is None:
        return event.event
    return f"{event.before} → {event.after}" if event.before else event.after


def _moment(seconds: float, clock: float | None) -> str:
    if clock is not None:
        return time.strftime("%H:%M:%S", time.localtime(seconds + clock))
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def time_line(states: Sequence[tuple[float, str | None]], names: Sequence[str]) -> str:
    """A clip's states as a line in time: each as long as it lasted."""
    if not any(state for _, state in states):
        return ""
    step = states[1][0] - states[0][0] if len(states) > 1 else 0.1
    ends = [*(moment for moment, _ in states[1:]), states[-1][0] + step]
    spans: list[tuple[str | None, float, float]] = []
    for (start, state), end in zip(states, ends, strict=True):
        if spans and spans[-1][0] == state:
            spans[-1] = (state, spans[-1][1], end)
        else:
            spans.append((state, start, end))
    whole = ends[-1] - states[0][0]
    line = "".join(_span(names, *span, label=(span[2] - span[1]) / whole > 0.14) for span in spans)
    scale = f"<div class=pv-ends><span>0:00.0</span><span>{_moment(ends[-1], None)}</span></div>"
    return f"<section class=pv-card><h3>States in time</h3><div class=pv-line>{line}</div>{scale}</section>"


def _span(names: Sequence[str], state: str | None, start: float, end: float, *, label: bool) -> str:
    colour = "none" if state is None else names.index(state) % STATE_COLOURS
    words = escape(state or "undecided")
    told = f"{words}, {_moment(start, None)} to {_moment(end, None)}"
    return f"<span class=pv-s{colour} style='flex:{end - start:.3f}' title='{told}'>{words if label else ''}</span>"


def frame(url: str, words: str) -> str:
    """A drawn frame; `url` is a data: address."""
    return f"<figure class=pv-frame><img src='{url}' alt='{escape(words, quote=True)}'></figure>"


def progress(share: float, seconds: float) -> str:
    """How far a clip has been watched."""
    return (
        f"<div class=pv-progress role=progressbar aria-valuenow={100 * share:.0f}>"
        f"<i style='width:{100 * share:.1f}%'></i></div><p class=pv-note>Watching … {_moment(seconds, None)}</p>"
    )


def player(address: str) -> str:
    """The drawn video, and a link to keep it."""
    quoted = escape(address, quote=True)
    return (
        f"<figure class=pv-frame><video src='{quoted}' controls autoplay muted loop playsinline></video></figure>"
        f"<p class=pv-note><a href='{quoted}' download='drawn.webm'>Save the drawn video</a></p>"
    )


def hint(text: str) -> str:
    """What to do, where there is nothing to show yet."""
    return f"<div class=pv-hint>{escape(text)}</div>"


def problem(text: str) -> str:
    """What went wrong, and what helps."""
    return f"<div class=pv-problem role=alert>{escape(text)}</div>"


def note(text: str) -> str:
    """A remark."""
    return f"<p class=pv-note>{escape(text)}</p>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _code(value: str | None) -> str:
    return "" if value is None else f"<code>{escape(value)}</code>"
