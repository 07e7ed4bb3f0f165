import re
from html.parser import HTMLParser

import pytest

from panvision.core.files import write_json, write_rows
from panvision.dataset.problems import Problem, write_problems
from panvision.report.findings import problem_rows
from panvision.report.inputs import ReportError
from panvision.report.page import export_tables, trained_settings
from tests.report.run import BASELINES, BOX, PREVIOUS, RESULTS, box_image
from tests.tiny import SUBSETS

SECTIONS = ("segmentation", "detection", "classification", "training", "data", "export")
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Tags of a page, which must be balanced; text by the id of the section (or header) around it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.section = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag}: duplicate attribute: {names}"
        self.tags.append((tag, dict(attrs)))
        if tag in ("header", "section"):
            self.section = dict(attrs).get("id") or self.section
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        assert tag == "path"  # the only ones without an end tag, and of SVG at that
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data) -> None:
        self.text[self.section] = " ".join(f"{self.text.get(self.section, '')} {data}".split())

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    @property
    def images(self) -> int:
        """The number of images, not counting the areas that are laid over them."""
        return sum(tag == "img" and attrs.get("class") != "area" for tag, attrs in self.tags)


def test_page_links_every_section(run) -> None:
    page = Page(run.page())
    for name in SECTIONS:
        assert ("section", {"id": name}) in page.tags
        assert ("a", {"href": f"#{name}"}) in page.tags
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))


def test_page_needs_no_other_file(run) -> None:
    html = run.page()
    page = Page(html)
    for name in ("src", "href"):
        assert all(value.startswith(("data:", "#")) for value in page.attributes(name))
    assert not {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_page_is_the_same_bytes_without_paths(run, tmp_path) -> None:
    html = run.page()
    assert html == run.page()
    assert str(tmp_path) not in html
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b|\d\d:\d\d:\d\d", html)


def test_page_shows_metrics(run) -> None:
    text = Page(run.page()).text
    assert "mIoU, segmentation 0.912 2 test images" in text["top"]
    assert "64 × 64 pixels" in text["top"] and "lid, stirrer" in text["top"]
    assert "mIoU 0.912 IoU of the pan 0.875 IoU of the background 0.950 Dice of the pan 0.933" in text["segmentation"]
    assert "boundary error, mean 1.26 px boundary error, p95 4.50 px" in text["segmentation"]
    assert "mAP@0.5 0.765 mAP@[.5:.95] 0.432 mAP, medium objects 0.432 F1" in text["detection"]
    assert "Class AP@0.5 precision recall F1 threshold lid" in text["detection"]
    assert "stirrer 0.765 0.750 0.600 0.667 0.410" in text["detection"]
    assert "accuracy 0.500 balanced accuracy 0.250" in text["classification"]
    assert "frozen 0.500 0.500 0.500 0.550 0.600" in text["classification"]
    assert "All settings of the training seed 42 Model model.backbone resnet10 model.weights none" in text["training"]
    assert "mask_empty warning 3 nothing, if the image shows no pan" in text["data"]
    assert "of_another_version 1" in text["data"]
    assert "segmentation 7 6 4 1 2 pan 7 4 1 2" in text["data"]
    assert "box edge px 0.0005 passed yes" in text["export"] and "Size MB onnx 5.25" in text["export"]


def test_page_identifies_the_model_and_judges_it(run) -> None:
    text = Page(run.page()).text["top"]
    assert "Usable, with remarks 4 open problems in the raw data. The ONNX file gives the results of" in text
    assert "Backbone resnet10, first weights: none Model input" in text  # an earlier export without hashes
    run.change("export", sha256={"onnx": "0123456789abcdef", "params": "b" * 64, "data": None})
    page = Page(run.page())
    assert "ONNX file SHA-256 0123456789ab … Settings SHA-256 bbbbbbbbbbbb … Model input" in page.text["top"]
    assert "bbbb" not in page.text["export"]


def test_page_names_undefined_metrics(run) -> None:
    page = Page(run.page())
    assert "lid undefined undefined undefined undefined 0.300 stirrer 0.765" in page.text["detection"]
    assert "undefined: the test split has nothing" in page.text["detection"]
    assert "undefined" not in page.text["segmentation"] + page.text["top"]
    run.change("segmentation", miou=None, dice=None, iou={"background": None, "pan": None})
    page = Page(run.page())
    assert "mIoU, segmentation undefined 2 test images" in page.text["top"]
    assert page.text["segmentation"].count("undefined") == 5  # four metrics and the hint
    # Without an order of the class labels its metrics are left out.
    assert "kappa" not in page.text["classification"]
    assert "None" not in "".join(page.text.values())


@pytest.mark.parametrize("tasks", [subset for subset in SUBSETS if len(subset) < 3])
def test_page_of_a_model_with_fewer_tasks(run, tasks) -> None:
    run.train_only(*tasks)
    page = Page(run.page(data_images=0))
    top = page.text["top"]
    assert f"Trained for {' and '.join(tasks)} only." in top
    assert (
        "mIoU, segmentation" in top,
        "mAP@0.5, detection" in top and "lid, stirrer" in top and "Boxes shown" in top,
        "accuracy, classification" in top and "frozen" in top,
    ) == tuple(task in tasks for task in ("segmentation", "detection", "classification"))
    for task in ("segmentation", "detection", "classification"):
        text = page.text[task]
        assert ("The model was not trained for this" in text) == (task not in tasks)
        assert ("Worst test images" in text and "Test images" in text) == (task in tasks)
        assert ("segmentation loss" in page.text["training"].lower()) == ("segmentation" in tasks)
    # Two images of each task, and the worst one, with a third image for a mask.
    assert page.images == 6 * len(tasks) + ("segmentation" in tasks)
    # One loss of each task, total loss, metrics and learning rate; precision over recall, thresholds; reliability.
    assert page.count("svg") == len(tasks) + 3 + 2 * ("detection" in tasks) + ("classification" in tasks)
    assert "None" not in "".join(page.text.values())


def test_page_refuses_results_of_other_tasks(run) -> None:
    run.write_results("segmentation", [], trained=False)
    with pytest.raises(ReportError, match=r"segmentation\.json: results of a model with other tasks; run `dvc repro`"):
        run.page()


def test_page_shows_baselines(run) -> None:
    assert "shared" not in Page(run.page()).text["training"].lower()
    write_json(run.metrics / "baselines.json", BASELINES)
    text = Page(run.page()).text["training"]
    assert "mAP@0.5, detection 0.765 0.800 -0.035" in text
    assert "mAP@[.5:.95], detection 0.432 undefined undefined" in text
    assert "detection: lone-pan also differs in train.batch_size." in text
    assert "not of the present run" not in text
    run.change("detection", map50=0.5)
    assert (
        "The shared metrics are those of commit 1234567, not of the present run." in Page(run.page()).text["training"]
    )


def test_page_without_or_with_damaged_baselines(run) -> None:
    (run.metrics / "baselines.json").unlink()
    assert "shared" not in Page(run.page()).text["training"].lower()
    (run.metrics / "baselines.json").write_text('{"tasks": 3}')
    with pytest.raises(ReportError, match=r"baselines\.json: tasks: .*; run `panvision baselines` again"):
        run.page()


def test_page_shows_intervals(run) -> None:
    assert "interval" not in Page(run.page()).text["top"]
    run.change("segmentation", ci95={"miou": {"low": 0.85, "high": 0.95}})
    run.change("detection", ci95={"map50": None}, ci95_null={"map50": "few_groups"})
    text = Page(run.page()).text["top"]
    assert "2 test images, 95% interval 0.850 to 0.950" in text and "95% interval: few groups" in text
    html = run.page()
    text = Page(html).text
    assert "mIoU 0.912 0.850 to 0.950 IoU of the pan 0.875" in text["segmentation"]
    assert '<b style="--low:0.850;--high:0.950"></b>' in html and "fewer than 10 groups" in text["segmentation"]
    assert "few groups" in text["detection"] and "groups" not in text["classification"]


def test_page_shows_the_previous_commit(run) -> None:
    assert "revious" not in Page(run.page()).text["top"]
    write_json(run.metrics / "previous.json", PREVIOUS)
    page = Page(run.page())
    text = page.text
    assert "2 test images; +0.012 on the previous commit, better" in text["top"]
    assert "2 test images; -0.035 on the previous commit boxes" not in text["top"]  # of another run
    assert "Metric value previous change mIoU 0.912 0.900 +0.012 IoU of the pan 0.875 new" in text["segmentation"]
    assert "Dice of the pan 0.933 0.950 -0.017" in text["segmentation"]
    assert "mAP@[.5:.95] 0.432 undefined undefined" in text["detection"]
    assert "stirrer 0.765 +0.065 0.750" in text["detection"]
    assert "Previous: commit 7654321." in text["segmentation"]
    assert "revious" not in text["classification"]
    marks = [value for value in page.attributes("class") if value.startswith("change ")]
    assert [mark for mark in marks if mark != "change "][:3] == ["change better", "change noise", "change worse"]


def test_page_shows_slices(run) -> None:
    text = Page(run.page()).text
    rows = "masks with pan 2 0.875 0.800 to 0.925 0.900 few groups masks without pan 1 0.500"
    assert f"Test images number mIoU Dice {rows}" in text["segmentation"]
    assert "By slice" not in text["detection"] + text["classification"]


def test_page_shades_the_confusion_matrix(run) -> None:
    html = run.page()
    page = Page(html)
    assert "browned fresh frozen browned 1 100% 0 0% 0 0% fresh 0 0%" in page.text["classification"]
    assert '<td style="--share:0.500"><b>1</b><span>50%</span></td>' in html


def test_page_draws_charts(run) -> None:
    # Precision over recall, thresholds of a class, reliability, four losses, metrics, learning rate.
    assert Page(run.page()).count("svg") == 9
    for phase in ("phase1", "phase2"):
        run.write_curves(phase, 0)
    write_rows(run.reports / "plots/precision_recall.csv", ("class", "recall", "precision"), [])
    write_rows(run.reports / "plots/reliability.csv", ("probabilities", "confidence", "accuracy", "images"), [])
    write_rows(run.reports / "plots/thresholds.csv", ("class", "threshold", "precision", "recall", "f1", "cost"), [])
    page = Page(run.page())
    assert page.count("svg") == 0 and "Nothing to draw." in page.text["classification"]
    assert page.text["training"].count("Nothing to draw.") == 6 and "(0 epochs)" in page.text["training"]


def test_page_draws_report_images(run) -> None:
    page = Page(run.page(data_images=0, worst=0))
    assert page.images == 2 * 6
    assert "2 of 3, spread evenly" in page.text["segmentation"]
    assert "wrong" in page.text["classification"] and "IoU 1.00" in page.text["segmentation"]
    page = Page(run.page(images=0, data_images=0, worst=0))
    assert page.images == 0
    assert "No image drawn: the test split of this dataset has 3; report.images is 0." in page.text["segmentation"]


def test_page_shows_the_worst_images(run) -> None:
    page = Page(run.page(images=0, data_images=0))
    text = page.text
    assert page.images == 3 + 2 + 2
    assert "Worst test images 1 of 2 test images has a mistake. ragged mask 1 IoU below 0.9" in text["segmentation"]
    assert "ragged mask The mask covers 94% of the pan, and 12% of it is not pan;" in text["segmentation"]
    assert "images/01.png no objects, 1 too many false alarm lid 0.80 where there is none." in text["detection"]
    assert "wrong class Called frozen with 70%; fresh, the truth, got 20%." in text["classification"]
    assert "errors of the mask for images/00.png" in page.attributes("alt")
    # Boxes below the model's threshold do not count.
    assert "stirrer 0.20" not in text["detection"]


def test_page_shows_explanations(run) -> None:
    assert "LayerCAM" not in Page(run.page()).text["classification"]
    heated = [dict(each, explanation={"heat": ["0f"]}) for each in RESULTS["classification"]]
    run.write_results("classification", heated)
    page = Page(run.page(images=0, data_images=0))
    assert (
        "marks the pixels that raised the probability of the predicted state (LayerCAM)" in page.text["classification"]
    )
    assert "why " in page.text["classification"] and page.images == 3 + 2 + 3
    assert any(each.startswith("activation map of ") for each in page.attributes("alt"))


def test_page_draws_report_worst(run) -> None:
    wrong = [dict(each, probabilities=[0.0, 0.0, 1.0]) for each in RESULTS["classification"]]
    run.write_results("classification", wrong)
    text = Page(run.page(worst=1)).text["classification"]
    assert "2 of 2 test images have a mistake; the worst of each kind are shown. wrong class 2 found" in text
    assert "browned, the truth" in text and "fresh, the truth" not in text
    run.write_results("classification", RESULTS["classification"][:1])
    assert "None of 2 test images has a mistake." in Page(run.page()).text["classification"]


def test_page_cuts_long_lists_of_mistakes(run) -> None:
    found = [(*BOX, 0, 0.9 - number / 100, -1, 0.0) for number in range(6)]
    run.write_results("detection", [box_image(1, [], found)])
    text = Page(run.page()).text["detection"]
    assert text.count("where there is none") == 4 and "lid 0.87 where there is none. and 2 more" in text


def test_page_refuses_results_of_other_images(run) -> None:
    run.write_results("detection", [box_image(7, [(*BOX, 1)], [])])
    with pytest.raises(ReportError, match=r"images/07\.png: in the per-image results of detection only; run `dvc"):
        run.page()
    path = run.reports / "results"
    (path / "classification.json").replace(path / "detection.json")
    with pytest.raises(ReportError, match=r"detection\.json: results of classification; run `dvc repro"):
        run.page()


def test_page_shows_calibration(run) -> None:
    page = Page(run.page())
    text = page.text["classification"]
    assert "Accuracy over confidence perfect as shipped ECE 0.120 uncalibrated ECE 0.050" in text
    assert "as shipped 0.620 0.500 2 as shipped 0.900 0.750 4 uncalibrated 0.550 0.500 1" in text
    assert "as shipped: 0.75 at confidence 0.9, 4 images" in text and "at confidence 0.55, 1 image " in text


def test_page_describes_images_and_plots(run) -> None:
    page = Page(run.page())
    for tag, attrs in page.tags:
        if tag == "img":
            assert attrs["alt"]
        if tag == "svg":
            assert attrs["role"] == "img" and attrs["aria-label"]
    # Both axes of every chart have a name.
    assert page.attributes("class").count("name") == 2 * page.count("svg")
    assert "Total loss over epoch: training 0.2; validation 0.2" in page.attributes("aria-label")
    assert "Precision over recall at IoU 0.5: stirrer AP 0.765" in page.attributes("aria-label")


def test_page_shows_images_of_problems(run) -> None:
    page = Page(run.page(worst=0))
    assert page.images == 2 * 6 + 1
    assert "segmentation/masks/00.png" in page.attributes("alt") and page.attributes("loading") == ["lazy"]
    assert "mask_empty warning 1 Nothing, if the image shows no pan." in page.text["data"]
    assert "segmentation · test segmentation/masks/00.png marks no pan" in page.text["data"]


def test_page_without_problems(run) -> None:
    write_problems(run.problems, [])
    run.change("data", problems={})
    page = Page(run.page())
    assert (
        "No problems were found in the raw data." in page.text["data"]
        and "Below are some images" not in page.text["data"]
    )


def test_page_of_an_empty_test_split(run) -> None:
    run.split_rows = [(*row[:3], "train") for row in run.split_rows]
    run.write_splits()
    for task in SECTIONS[:3]:
        run.write_results(task, [])
    page = Page(run.page(data_images=0))
    assert page.images == 0
    for name in SECTIONS[:3]:
        assert "No image drawn: the test split of this dataset has 0." in page.text[name]


def test_page_escapes_names(run) -> None:
    file = "<script>alert(1)<\u2215script> \"'&amp;.png"
    run.rename("detection", 1, file)
    name = '"><script>x</script>'
    run.change("detection", ap50={name: 0.5})
    run.change("export", **{name: {name: name}})
    run.change("data", problems={name: 1})
    write_problems(run.problems, [Problem(name, "warning", f"detection/images/{file}", name, name)])
    run.write_confusion([(name, name)])
    write_rows(run.reports / "plots/precision_recall.csv", ("class", "recall", "precision"), [(name, 0.5, 0.5)])
    write_json(run.config, {"seed": name, "model": {name: name}})
    write_json(run.metrics / "previous.json", {**PREVIOUS, "commit": name})
    columns = ("probabilities", "confidence", "accuracy", "images")
    write_rows(run.reports / "plots/reliability.csv", columns, [(name, 0.5, 0.5, 1)])
    html = run.page()
    page = Page(html)
    assert page.count("script") == 0 and "<script" not in html
    assert f"images/{file}" in page.text["detection"]
    assert {f"truth of images/{file}", f"detection/images/{file}"} <= set(page.attributes("alt"))
    for section in ("segmentation", "detection", "classification", "training", "data", "export"):
        assert name in page.text[section], section


def test_page_counts_boxes_from_the_shipped_threshold_on(run) -> None:
    assert "1 of 1 found" in Page(run.page()).text["detection"]
    run.predict(score_threshold={"lid": 0.2, "stirrer": 0.95})
    run.write_results("detection", RESULTS["detection"], threshold=0.95)
    assert "score at least 0.20 (lid), 0.95 (stirrer), overlap" in Page(run.page()).text["top"]
    assert "0 of 1 found" in Page(run.page()).text["detection"]


@pytest.mark.parametrize(
    "name",
    [
        "metrics/data.json",
        "metrics/segmentation.json",
        "metrics/detection.json",
        "metrics/classification.json",
        "metrics/export.json",
        "reports/curves/phase1.csv",
        "reports/curves/phase2.csv",
        "reports/plots/precision_recall.csv",
        "reports/plots/confusion.csv",
        "reports/plots/reliability.csv",
        "reports/plots/thresholds.csv",
        "reports/plots/slices.csv",
        "reports/results/segmentation.json",
        "reports/results/detection.json",
        "reports/results/classification.json",
        "reports/results/predictions.json",
        "models/config.json",
        "problems.csv",
    ],
)
def test_page_names_missing_and_damaged_inputs(run, tmp_path, name) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff\n")
    with pytest.raises(ReportError, match=rf"{re.escape(name)}: .*`dvc repro"):
        run.page()
    path.unlink()
    with pytest.raises(ReportError, match=rf"{re.escape(name)}: (cannot be read|no such file).*`dvc repro"):
        run.page()


def test_export_tables_of_any_values() -> None:
    assert export_tables({}) == []
    assert export_tables(
        {"size_mb": {"onnx": 5.25}, "opset": 18, "int8": {"drop": {"miou": None}, "accepted": True}}
    ) == [
        ("", [("opset", "18")]),
        ("int8", [("accepted", "yes"), ("drop, miou", "undefined")]),
        ("size MB", [("onnx", "5.25")]),
    ]
    assert export_tables({"a": [1, 0.5, {"b": 1}], "c": 1.23456e-7}) == [
        ("", [("a", "1, 0.5, {'b': 1}"), ("c", "1.235e-07")])
    ]


def test_trained_settings_are_like_params_yaml() -> None:
    assert trained_settings({}) == []
    values = {"tasks": ["detection"], "train": {"phase1": {"lr": 0.001}, "epoch_steps": None}, "export": {"opset": 18}}
    assert trained_settings(values) == [
        ("", [("tasks", '["detection"]')]),
        ("train", [("train.epoch_steps", "null"), ("train.phase1.lr", "0.001")]),
    ]


def test_problem_rows_are_sorted() -> None:
    rows = problem_rows({"stranger": 1, "box_clipped": 2, "mask_size": 1})
    assert [(row.code, row.severity, row.count) for row in rows] == [
        ("mask_size", "error", 1),
        ("box_clipped", "fixed", 2),
        ("stranger", "", 1),
    ]
    assert rows[0].remedy and not rows[2].remedy
