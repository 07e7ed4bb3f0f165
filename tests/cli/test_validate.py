import csv
import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from panvision.cli.lock import LOCK
from panvision.cli.main import main
from panvision.dataset.problems import COLUMNS
from panvision.prepare import workers
from tests.cli.holders import held
from tests.cli.shown import json_keys
from tests.prepare import raw_sets
from tests.prepare.test_workers import die_elsewhere
from tests.report.test_page import Page

SMALL = ("data.image_size=64", "data.min_side=16", "split.val=0.2", "split.test=0.2", "split.method=balanced")
HOSTILE = "<img src=x>.jpg"


@pytest.fixture
def root(tmp_path):
    """Three datasets without problems in an empty folder."""
    raw_sets.all_sets(tmp_path / "sets")
    return tmp_path / "sets"


def validate(root, *arguments, settings=()) -> int:
    words = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    return main(["validate", str(root), *map(str, arguments), *words])


def as_json(root, capsys, *arguments, **options):
    code = validate(root, "--json", *arguments, **options)
    output = capsys.readouterr()
    assert not output.err
    return code, json.loads(output.out)


def warn(root):
    raw_sets.save_mask(root / "segmentation/masks/s0.png", value=0)


def fail(root):
    (root / "detection/images/d100.png").write_bytes(b"")


def fix(root):
    raw_sets.save(root / "classification/images/raw/c200.png", raw_sets.picture(200).convert("RGBA"))


@pytest.mark.parametrize(
    ("changes", "code", "last"),
    [
        ([], 0, "no problems"),
        ([fix], 0, "0 errors, 0 warnings, 1 fixed"),
        ([fix, warn], 3, "0 errors, 1 warning, 1 fixed"),
        ([fix, warn, fail], 1, "1 error, 1 warning, 1 fixed; fix the errors before training"),
    ],
)
def test_exit_code_is_that_of_the_worst_problem(root, capsys, changes, code, last):
    for change in changes:
        change(root)
    assert validate(root) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == last
    assert lines[1].split() == ["segmentation", "6", "6", "4", "1", "1"]
    found, found_json = as_json(root, capsys)
    assert found == found_json["exit_code"] == code


def test_text_fits_80_columns(root, capsys):
    fail(root)
    raw_sets.save(root / "segmentation/images" / f"{'x' * 60}.png", 900)
    assert validate(root) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "  detection/images/d100.png: is empty" in lines
    assert "error image_empty 1: copy the image again, or remove it with its labels" in lines
    assert [line for line in lines if len(line) > 80] == [f"  segmentation/images/{'x' * 60}.png:"]


def test_five_files_of_a_kind_or_all(root, capsys):
    for number in range(6):
        raw_sets.save(root / f"segmentation/images/new{number}.png", 900 + number)
    validate(root)
    assert "… and 1 more (--all shows them)" in capsys.readouterr().out
    validate(root, "--all")
    assert "images/new5.png: has no mask" in capsys.readouterr().out


def test_json(root, capsys):
    fix(root), warn(root), fail(root)
    shutil.copy(root / "segmentation/images/s1.png", root / "classification/images/raw/same.png")
    _, found = as_json(root, capsys)
    assert set(found) == {"sets", "cross_task_groups", "problems", "counts", "exit_code"} <= json_keys("validate")
    assert found["counts"] == {"error": 1, "warning": 1, "fixed": 2} and found["cross_task_groups"] == 1
    codes = ["image_empty", "mask_empty", "copies_across_sets", "mode_converted"]
    assert [one["code"] for one in found["problems"]] == codes
    assert all(set(one) == set(COLUMNS) and all(one.values()) for one in found["problems"])
    assert found["problems"][0]["file"] == "detection/images/d100.png"
    assert found["sets"]["detection"]["images"] == 5 and found["sets"]["detection"]["problems"] == {"image_empty": 1}
    assert set(found["sets"]["classification"]["classes"]) == {"raw", "burnt"}


def test_a_missing_dataset_does_not_hide_other_problems(root, capsys):
    fail(root), warn(root)
    shutil.rmtree(root / "classification")
    (root / "classification").write_text("a file")
    assert validate(root, "--splits", root / "splits.csv") == 1
    output = capsys.readouterr()
    assert "classification cannot be used; until then copies, splits" in output.out
    assert "error set_unusable 1:" in output.out
    assert "detection/images/d100.png: is empty" in output.out and "masks/s0.png: marks no pan" in output.out
    assert "splits.csv: not written" in output.err and not (root / "splits.csv").exists()
    code = validate(root, "--json")
    found = json.loads(capsys.readouterr().out)
    assert code == found["exit_code"] == 1 and found["cross_task_groups"] is None
    assert found["sets"] == {
        "segmentation": {"images": 6, "problems": {"mask_empty": 1}},
        "detection": {"images": 5, "problems": {"image_empty": 1}},
    }


def test_a_dataset_without_a_usable_image(root, capsys):
    for path in (root / "segmentation/images").iterdir():
        path.write_bytes(b"")
    _, found = as_json(root, capsys)
    codes = [one["code"] for one in found["problems"]]
    assert codes == ["image_empty"] * 6 + ["set_unusable"]
    assert found["problems"][-1]["file"] == "segmentation"
    assert found["problems"][-1]["reason"].startswith("nothing usable found; ")


def test_a_folder_without_datasets(tmp_path, capsys):
    _, found = as_json(tmp_path, capsys)
    assert [own["images"] for own in found["sets"].values()] == [0, 0, 0]
    assert (found["counts"]["error"], found["exit_code"]) == (3, 1)


def test_the_split_can_be_written_edited_and_pinned(root, tmp_path, capsys):
    table = tmp_path / "out/pins.csv"
    assert validate(root, "--splits", table) == 0
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["task", "file", "group", "split"] and len(rows) == 6 + 6 + 12
    training = next(row for row in rows if row["task"] == "detection" and row["split"] == "train")
    training["split"] = "val"
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert validate(root, "--pins", table, "--splits", tmp_path / "again.csv") == 0
    with (tmp_path / "again.csv").open() as stream:
        assert list(csv.DictReader(stream)) == rows


def test_packed_sets_are_kept_on_request(root, tmp_path, capsys, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = sorted(root.rglob("*"))
    assert validate(root) == 0
    assert not list(scratch.iterdir())
    assert validate(root, "--build", tmp_path / "kept") == 0
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        LOCK,
        "data.json",
        "prepared",
        "problems.csv",
        "splits.csv",
    ]
    assert sorted(root.rglob("*")) == before


def test_a_locked_folder_is_refused(root, tmp_path, capsys):
    build = tmp_path / "kept"
    with held(build) as process:
        before = sorted(build.rglob("*"))
        assert validate(root, "--json", "--build", build) == 1
        output = capsys.readouterr()
        words = f"process {process} is writing there; wait until it ends, or name another folder (--build)"
        assert (output.out, output.err) == ("", f"panvision validate: {build}: {words}\n")
        assert sorted(build.rglob("*")) == before
    assert validate(root, "--build", build) == 0


def test_page_shows_the_problems(root, tmp_path, capsys):
    fail(root), warn(root)
    raw_sets.save(root / "classification/images/raw" / HOSTILE, raw_sets.picture(77, 5, 4))
    shutil.copy(root / "classification/images/raw/c201.png", root / "classification/images/burnt/c201.png")
    page = tmp_path / "page.html"
    assert validate(root, "--html", page) == 1
    html = page.read_text(encoding="utf-8")
    shown = Page(html)
    assert "2 errors, 2 warnings" in shown.text["top"] and "<img src=x" not in html
    assert f"classification/images/raw/{HOSTILE} is 5x4 pixels" in shown.text["findings"]
    assert "classification/images/burnt/c201.png" in shown.attributes("alt")
    assert all(value.startswith("data:") for name in ("src", "href") for value in shown.attributes(name))
    pictures = shown.count("img")
    assert validate(root, "--html", page, settings=["report.data_images=0"]) == 1
    assert pictures > 3 and Page(page.read_text(encoding="utf-8")).count("img") == 0


def test_page_without_a_dataset(root, tmp_path, capsys):
    fail(root), warn(root)
    shutil.rmtree(root / "classification")
    (root / "classification").write_text("a file")
    assert validate(root, "--html", tmp_path / "page.html") == 1
    shown = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "classification cannot be used" in shown.text["data"]
    assert shown.count("img") == 1 and "cannot be shown" in shown.text["findings"]


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((), ["split.sead=1"], "split.sead: unknown key; did you mean split.seed?"),
        (("--config", "none.yaml"), [], "none.yaml: no such file"),
        (("--pins", "none.csv"), [], "none.csv: missing"),
        (("--pins", "{root}/pins.csv"), ["split.folds=3"], "in k-fold every image is tested once"),
    ],
)
def test_wrong_usage_has_its_own_exit_code(root, capsys, arguments, settings, message):
    (root / "pins.csv").write_text("task,file,split\ndetection,images/d100.png,test\n")
    given = [argument.format(root=root) for argument in arguments]
    assert validate(root, "--json", *given, settings=settings) == 2
    found = capsys.readouterr()
    assert message in found.err and found.err.startswith("panvision validate: ") and not found.out


@pytest.mark.parametrize("name", ["phots", "file"])
def test_a_missing_folder_is_named(tmp_path, capsys, name):
    (tmp_path / "file").write_text("")
    assert validate(tmp_path / name) == 2
    found = capsys.readouterr()
    assert found.err.startswith(f"panvision validate: {tmp_path / name}: no such folder; ") and not found.out


def test_an_unwritable_file_is_one_line(root, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert validate(root, "--json", "--splits", tmp_path / "file/splits.csv") == 1
    found = capsys.readouterr()
    assert found.err.count("\n") == 1 and not found.out


@pytest.mark.parametrize("build", [None, "kept"])
def test_a_full_disk_names_the_folder_of_the_packed_sets(root, tmp_path, capsys, monkeypatch, build):
    def full(*_: object):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("panvision.prepare.arrays.ArrayFile.write", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = tmp_path / build if build else tmp_path
    assert validate(root, *(("--build", place) if build else ())) == 1
    reason = "no space left on device for the packed sets (name another folder with --build); free some space, "
    assert capsys.readouterr().err.startswith(f"panvision validate: {place}: {reason}")


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EAGAIN])
def test_lack_of_memory_names_no_folder(root, capsys, monkeypatch, code):
    def refuse(*_: object):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("panvision.prepare.pack.load_samples", refuse)
    assert validate(root) == 1
    words = f"panvision validate: {os.strerror(code)}; end other programs, then call the same command again\n"
    assert capsys.readouterr().err.lower() == words.lower()


def test_a_killed_process_is_not_a_problem_of_the_data(root, capsys, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(2))
    monkeypatch.setattr(workers, "_WORTH_IT", 1)
    monkeypatch.setattr(workers, "_load_chunk", die_elsewhere)
    assert validate(root, "--json") == 1
    output = capsys.readouterr()
    assert not output.out and output.err.count("\n") == 1
    assert output.err.startswith(
        "panvision validate: a process that loads images was killed, most likely by the system"
    )
    assert (
        str(root / "segmentation/images/s") in output.err and "end other programs, lower data.max_pixels" in output.err
    )


def test_text_is_escaped_for_the_terminal(root):
    raw_sets.save(root / "segmentation/images/größe图.png", 900)
    command = [sys.executable, "-m", "panvision.cli.main", "validate", str(root), "--set", "data.image_size=64"]
    env = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "gr\\xf6\\xdfe\\u56fe.png: has no mask" in done.stdout
    assert not done.stderr


def test_torch_is_not_needed(root, tmp_path):
    arguments = ["validate", str(root), "--html", str(tmp_path / "page.html"), "--set", "data.image_size=64"]
    code = (
        f"import sys; from panvision.cli.main import main\nmain({arguments!r})\n"
        "assert not {'torch', 'torchvision', 'cv2', 'onnxruntime'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_progress_on_a_terminal_is_wiped(root, capsys, monkeypatch):
    assert validate(root) == 0
    assert not capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert validate(root, "--json") == 0
    output = capsys.readouterr()
    assert "reading detection …" in output.err and output.err.endswith("\r\x1b[K")
    assert json.loads(output.out)["exit_code"] == 0


def test_a_quiet_run_shows_no_progress(root, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert validate(root, "--quiet") == 0
    assert not capsys.readouterr().err


def test_data_root_in_the_home_folder(root, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert validate("~/sets") == 0
    assert capsys.readouterr().out.endswith("no problems\n")


@pytest.mark.parametrize("every", [True, False])
def test_a_zip_is_unpacked_and_removed(root, tmp_path, monkeypatch, capsys, every):
    """A single dataset is checked alone."""
    if not every:
        shutil.rmtree(root / "segmentation")
        shutil.rmtree(root / "classification")
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", root if every else root / "detection")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    code, found = as_json(archive, capsys)
    assert code == 0 and found["sets"]["detection"]["images"] == 6
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_zip_that_cannot_be_used(tmp_path, capsys):
    (tmp_path / "export.zip").write_bytes(b"PK")
    assert validate(tmp_path / "export.zip") == 2
    assert "export.zip: cannot be unpacked" in capsys.readouterr().err


def test_only_the_datasets_of_the_tasks_are_needed(root, capsys):
    shutil.rmtree(root / "segmentation")
    shutil.rmtree(root / "classification")
    code, found = as_json(root, capsys, settings=["tasks=[detection]"])
    assert code == 0 and {task: own["images"] for task, own in found["sets"].items()} == {
        "segmentation": 0,
        "detection": 6,
        "classification": 0,
    }
    code, found = as_json(root, capsys)
    assert code == 1
    assert [(one["code"], one["file"]) for one in found["problems"]] == [
        ("set_missing", "classification"),
        ("set_missing", "segmentation"),
    ]


@pytest.mark.parametrize(("order", "shown"), [("auto", "raw 6 burnt 6"), ("null", "burnt 6 raw 6")])
def test_page_shows_the_classes_in_their_order(root, tmp_path, order, shown):
    page = tmp_path / "page.html"
    assert validate(root, "--html", page, "-q", settings=[f"classification.order={order}"]) == 0
    balance = Page(page.read_text(encoding="utf-8")).text["data"].partition("Class balance")[2]
    assert shown in balance.replace("classification ", "")


def test_an_order_of_other_labels_is_an_error(root, capsys):
    code, found = as_json(root, capsys, settings=["classification.order=[raw,golden]"])
    assert code == 1 and [one["code"] for one in found["problems"]] == ["order_unfit"]
    assert as_json(root, capsys, settings=["classification.order=[burnt,raw]"])[0] == 0
    assert as_json(root, capsys, settings=["classification.order=[raw,golden]", "tasks=[detection]"])[0] == 0


@pytest.mark.parametrize("preset", ["laptop", "edge", "resnet50", "scratch"])
def test_presets_take_other_class_labels(root, capsys, preset):
    (root / "classification/images/raw").rename(root / "classification/images/fresh")
    pins = root.parent / "pins.csv"
    pins.write_text("task,file,split\n")
    assert validate(root, "--quiet", "--config", f"presets/{preset}.yaml", "--pins", pins) == 0


def test_reviewed_findings_are_dismissed_on_the_page(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    table = tmp_path / "data/reviewed.csv"
    table.write_text("dataset,file\n")
    assert main(["validate", str(root), "--html", "page.html"]) == 2
    assert "data/reviewed.csv: has no column what; the columns are" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
    main(["validate", str(root), "--json"])  # without a page the table is not read
    found = next(each for each in json.loads(capsys.readouterr().out)["problems"] if each["severity"] == "warning")
    dataset, _, file = found["file"].partition("/")
    table.write_text(f"dataset,file,what\n{dataset},{file},{found['code']}\n")
    main(["validate", str(root), "--html", "page.html", "--quiet"])
    assert "1 more dismissed by a person" in " ".join((tmp_path / "page.html").read_text().split())
    assert f"Data checks of <code>{root.name}</code>" in (tmp_path / "page.html").read_text()


def test_changes_from_an_earlier_folder_or_zip(root, tmp_path, capsys):
    old, page = tmp_path / "old", tmp_path / "data.html"
    shutil.copytree(root, old)
    packed = shutil.make_archive(str(tmp_path / "old"), "zip", old)
    (root / "classification/images/raw/c201.png").rename(root / "classification/images/burnt/c201.png")
    raw_sets.save(root / "detection/images/d101.png", 999)
    code, found = as_json(root, capsys, "--against", old, "--html", page, "-q")
    assert code == 0 and found["changes"]["counts"]["classification"]["relabelled"] == 1
    assert [each["file"] for each in found["changes"]["images"] if each["kind"] == "replaced"] == ["images/d101.png"]
    assert set(found) <= json_keys("validate")
    assert "raw → burnt" in Page(page.read_text()).text["changes"]
    assert validate(root, "--against", packed, "-q") == 0
    said = capsys.readouterr().out
    assert f"changes against {packed}"[:79] in said and "  classification/images/burnt/c201.png: raw → burnt" in said
    assert max(map(len, said.splitlines())) <= 80


def test_new_pins_move_images_of_an_earlier_folder(root, tmp_path, capsys):
    old, pins = tmp_path / "old", tmp_path / "pins.csv"
    shutil.copytree(root, old)
    assert validate(root, "--splits", pins, "-q") == 0
    lines = pins.read_text().splitlines()
    pins.write_text("\n".join(line.replace(",train", ",test") if "segm" in line else line for line in lines))
    capsys.readouterr()
    validate(root, "--json", "--pins", pins, "--against", old, "-q")
    found = json.loads(capsys.readouterr().out)["changes"]
    assert found["moves"]["train → test"] > 0 and found["test_split"]["joined"] > 0
    assert found["test_split"]["seen"] is None
    validate(root, "--pins", pins, "--against", old, "-q")
    assert "The earlier split is supposed" in " ".join(capsys.readouterr().out.split())


@pytest.mark.process
def test_earlier_data_that_cannot_be_used_are_one_line(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert validate(root, "--against", "HEAD", "-q") == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "empty/segmentation").mkdir(parents=True)
    (tmp_path / "empty/segmentation/x.txt").write_text("x")
    assert validate(root, "--against", "empty", "-q") == 2
    assert "empty/segmentation: nothing usable found" in capsys.readouterr().err


def test_earlier_data_of_another_version_are_one_line(root, tmp_path, capsys, monkeypatch):
    def packed_at(project, rev, folder):
        (folder / "prepared/segmentation").mkdir(parents=True)
        (folder / "splits.csv").write_text("task,file,group,split\nsegmentation,a.png,1,train\n")
        return folder / "prepared", folder / "splits.csv"

    monkeypatch.setattr("panvision.experiments.revisions.packed_at", packed_at)
    assert validate(root, "--against", "v1", "-q") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "v1: packed by another version; name a folder or ZIP" in said


def test_an_empty_earlier_folder_is_refused(root, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert validate(root, "--against", tmp_path / "empty", "-q") == 2
    message = "has no images; name the folder that holds segmentation, detection, classification"
    assert capsys.readouterr().err == f"panvision validate: {tmp_path}/empty: {message}\n"


def test_dismissed_findings_need_a_page(root, tmp_path, capsys):
    assert validate(root, "--reviewed", tmp_path / "reviewed.csv") == 2
    assert "--reviewed works only with --html." in capsys.readouterr().err


def test_data_that_cannot_be_split_are_not_compared(root, capsys):
    shutil.rmtree(root / "detection")
    (root / "detection").mkdir()
    (root / "detection/x.txt").write_text("x")
    assert validate(root, "--json", "--against", root, "-q") == 1
    said = capsys.readouterr()
    assert "changes" not in json.loads(said.out)
    assert said.err == f"panvision validate: {root}: not compared, because no split was made\n"
