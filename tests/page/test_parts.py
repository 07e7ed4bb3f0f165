from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.monitor.events import STATE_CHANGED, Event
from panvision.page import parts
from panvision.page.scores import Score, Scores
from tests.page.made import facts_of
from tests.tiny import INFO, part_info

EVIL = "<img src=x onerror=alert(1)>'\"&</td>${alert(1)}"


class Read(HTMLParser):
    """A piece of HTML as a browser reads it: its elements, its words, and the text of each row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.within = False
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.within = True

    def handle_endtag(self, tag):
        self.within = self.within and tag not in ("td", "th")

    def handle_data(self, data):
        self.words += data
        if self.within:
            self.rows[-1][-1] += data


def state(**probabilities):
    best = max(probabilities, key=probabilities.get)
    return {"class_idx": list(probabilities).index(best), "class_name": best, "probabilities": probabilities}


def boxes(*names):
    return {
        "boxes": [[1.4, 2.0, 30.0, 40.6] for _ in names],
        "labels": list(range(len(names))),
        "scores": [0.875 for _ in names],
        "class_names": list(names),
    }


def every_part(name):
    """Everything in which a name from outside stands."""
    info = replace(INFO, det_class_names=(name, "b"), cls_class_names=(name, "raw"), state_order=(name, "raw"))
    facts = facts_of(info, name=name, scores=Scores((Score(name, 0.5, (0.4, 0.6)),), name, backbone=name))
    return "".join(
        [
            parts.header(facts),
            parts.model_panel(facts),
            parts.state_card({"class_idx": 0, "class_name": name, "probabilities": {name: 0.75, "raw": 0.25}}, ()),
            parts.boxes_card(boxes(name), 10, 20),
            parts.events_card([Event(STATE_CHANGED, 1.0, 0.5, name, name), Event(name, 2.0, 0.5)]),
            parts.time_line([(0.0, name), (1.0, name)], (name, "raw")),
            parts.frame("data:image/jpeg;base64,", name),
            parts.player(name),
            parts.hint(name),
            parts.problem(name),
            parts.note(name),
        ]
    )


def test_a_name_never_becomes_an_element_or_an_attribute():
    plain, evil = Read(every_part("plain")), Read(every_part(EVIL))
    assert evil.tags == plain.tags
    assert [name for name, _ in evil.attributes] == [name for name, _ in plain.attributes]
    assert EVIL in evil.words


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_nor_does_any_other(name):
    plain, other = Read(every_part("plain")), Read(every_part(name))
    assert other.tags == plain.tags


def test_the_header_says_which_model_speaks_and_how_well():
    rows = (Score("mIoU", 0.9575), Score("Dice", 0.97), Score("mAP@0.5", None), Score("accuracy", 0.9))
    said = Read(parts.header(facts_of(scores=Scores(rows, "")))).words
    for text in (
        "m.onnx",
        "abababababab",
        "64 px",
        "mask + boxes + state",
        "mIoU 0.958",
        "mAP@0.5 –",
        "accuracy 0.900",
    ):
        assert text in said
    assert "Dice" not in said and "ab" * 7 not in said


def test_the_panel_has_hashes_classes_and_intervals():
    info = replace(INFO, params_sha256="12" * 32, state_order=("fresh", "frozen", "browned"))
    scores = Scores((Score("mIoU", 0.9, (0.85, 0.93)), Score("Dice", 0.95)), "Measured.", backbone="resnet18")
    rows = Read(parts.model_panel(facts_of(info, scores=scores))).rows
    assert ["SHA-256", "ab" * 32] in rows and ["Settings", "12" * 32] in rows and ["Backbone", "resnet18"] in rows
    assert ["Boxes of", "lid, stirrer"] in rows and ["States", "fresh → frozen → browned"] in rows
    assert ["mIoU", "0.900", "0.850 – 0.930"] in rows and ["Dice", "0.950", ""] in rows
    assert not [row for row in rows if row[0] == "Data"], "what nobody knows is left out"


@pytest.mark.parametrize("task", INFO.tasks)
def test_only_what_the_model_can_answer_is_named(task):
    words = Read(parts.model_panel(facts_of(part_info(task)))).rows
    assert ["Answers", parts.ANSWERS[task]] in words
    assert any(row[0] == "Boxes of" for row in words) is (task == "detection")
    assert any(row[0] == "States" for row in words) is (task == "classification")


def test_states_stand_in_their_order_with_their_probabilities():
    card = parts.state_card(state(raw=0.25, golden=0.7, burnt=0.05), ("golden", "raw", "burnt"))
    assert Read(card).words == "Stategolden70%raw25%burnt5%" and card.count("pv-best") == 1
    assert "width:70.0%" in card
    assert "Undecided" in parts.state_card(state(raw=1.0), (), None)
    assert "Undecided" not in parts.state_card(state(raw=1.0), (), "raw")


def test_boxes_have_their_place_in_pixels():
    read = Read(parts.boxes_card(boxes("lid"), 640, 480))
    assert read.rows[1] == ["lid", "0.88", "1", "2", "30", "41"] and "640 × 480 pixels" in read.words
    assert "None scores above the threshold" in parts.boxes_card(boxes(), 640, 480)


def test_events_stand_newest_first():
    events = [Event(STATE_CHANGED, 1.0, 0.9, None, "raw"), Event(STATE_CHANGED, 61.25, 0.8, "raw", "golden")]
    assert Read(parts.events_card(events)).rows[1:] == [["1:01.2", "raw → golden", "80%"], ["0:01.0", "raw", "90%"]]
    assert len(Read(parts.events_card(events, clock=1e9)).rows[1][0].split(":")) == 3
    assert "Nothing has happened" in parts.events_card([])


def test_the_line_of_states_is_as_long_as_they_lasted():
    states = [(0.0, None), (0.5, None), *((1.0 + n / 2, "raw") for n in range(4)), (3.0, "burnt")]
    line = parts.time_line(states, ("raw", "burnt"))
    assert [style for name, style in Read(line).attributes if name == "style"] == [
        "flex:1.000",
        "flex:2.000",
        "flex:0.500",
    ]
    assert "undecided, 0:00.0 to 0:01.0" in line and "burnt, 0:03.0 to 0:03.5" in line
    assert parts.time_line([(0.0, None), (1.0, None)], ("raw",)) == "" == parts.time_line([], ())
