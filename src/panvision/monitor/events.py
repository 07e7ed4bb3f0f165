"""Events that a monitor reports."""

from dataclasses import dataclass
from typing import Any

STATE_CHANGED = "state changed"
PAN_REMOVED = "pan removed"
PAN_RETURNED = "pan returned"
SOURCE_LOST = "source lost"
SOURCE_RETURNED = "source returned"
LENS_COVERED = "lens covered"
CAMERA_MOVED = "camera moved"
UNKNOWN_SCENE = "unknown scene"
SCENE_RETURNED = "scene returned"
DRIFT = "drift"


@dataclass(frozen=True)
class Event:
    """An event.

    Attributes:
        event: `state changed`, `pan removed`, `source lost`, `<class> missing`, and the ends of the last three:
            `pan returned`, `source returned`, `<class> returned`. Of a model that does not answer every image also
            `lens covered`, `camera moved` or `unknown scene`, their end `scene returned`, and `drift`.
        time: seconds, on the clock of the frames.
        confidence: 0 to 1: the smoothed probability of the new state, or of the presence or absence; 1 for the source;
            of `drift` the running mean of the distance, as a fraction of the largest accepted one, at most 1.
        before: the previous state of `state changed`; None for the first.
        after: the new state of `state changed`.
    """

    event: str
    time: float
    confidence: float
    before: str | None = None
    after: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `event`, `time`, `confidence`, and `from` and `to` of a change of state."""
        line: dict[str, Any] = {
            "event": self.event,
            "time": round(self.time, 3),
            "confidence": round(self.confidence, 4),
        }
        return line | ({"from": self.before, "to": self.after} if self.event == STATE_CHANGED else {})

    def in_words(self) -> str:
        """Return the event as text."""
        change = f" from {self.before or 'nothing'} to {self.after}" if self.event == STATE_CHANGED else ""
        return f"{self.event}{change} ({self.confidence:.0%})"
