"""The built site: `make docs` succeeds, every link has a target, and no page loads anything from another server."""

import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from panvision_docs.faults import read_meanings
from panvision_docs.parameters import anchor

from panvision.cli.main import cli
from panvision.core.params import load_params
from panvision.dataset.problems import CATALOGUE
from tests.pipeline.scratch import ROOT, leaves

pytestmark = pytest.mark.xdist_group("site")
# Attributes that a browser fetches by itself, by tag; a link is fetched when a reader follows it.
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}


class Page(HTMLParser):
    """A page's fetched files, links and anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched, self.links, self.ids = [], [], set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given["id"]} if given.get("id") else set()
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "canonical"):
            self.fetched.append(given["href"])
        if given.get(FETCHED.get(tag, "")):
            self.fetched.append(given[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the command of `make docs` fills."""
    (command,) = re.findall(r"-m sphinx (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert {"-W", "-n", "build/docs"} <= set(shlex.split(command))
    folder = tmp_path_factory.mktemp("site")
    arguments = [str(folder) if part == "build/docs" else part for part in shlex.split(command)]
    environment = os.environ | {"PYTHONPATH": ""}
    ran = subprocess.run(
        [sys.executable, "-m", "sphinx", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_every_page_is_listed(pages):
    written = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert written == {Path(name).stem for name in pages} - {"genindex", "search"}
    listed = {urlsplit(link).path for link in pages["index.html"].links}
    assert {f"{name}.html" for name in written - {"index"}} <= listed


def test_no_page_loads_from_another_server(site, pages):
    elsewhere = {url for page in pages.values() for url in page.fetched if re.match(r"(\w+:)?//", url)}
    assert not elsewhere
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", styles)
    assert any(page.fetched for page in pages.values())


def test_links_within_the_site_have_targets(site, pages):
    broken = []
    for name, page in pages.items():
        for link in (urlsplit(link) for link in page.links):
            if link.scheme or link.netloc:
                continue
            target = Path(os.path.normpath(Path(name).parent / unquote(link.path))).as_posix() if link.path else name
            if not (site / target).is_file() or (link.fragment and unquote(link.fragment) not in pages[target].ids):
                broken.append((name, link.geturl()))
    assert not broken


def test_every_param_is_documented(pages):
    anchors = {anchor(key) for key in leaves(load_params(ROOT / "params.yaml"))}
    assert anchors <= pages["parameters.html"].ids


def test_every_command_is_documented(pages):
    text = pages["commands.html"].text
    assert [name for name in cli.summaries if f'id="panvision-{name}"' not in text] == []
    for option in ("--input_dir", "--half_life", "--markdown", "--checkpoint_dir"):
        assert option in text


def test_every_problem_is_documented(pages):
    codes = [code for kind in read_meanings(ROOT).values() for code in kind]
    assert sorted(codes) == sorted(CATALOGUE)
    text = pages["faults.html"].text
    assert [code for code in CATALOGUE if f">{code}<" not in text] == []


def test_every_metric_is_documented():
    page = (ROOT / "docs/scores.md").read_text(encoding="utf-8")
    for name in ("segmentation", "detection", "classification", "data", "export"):
        _, found, part = page.partition(f"### {name}.json\n")
        assert found
        part = part.partition("\n### ")[0]
        for key in json.loads((ROOT / f"metrics/{name}.json").read_text(encoding="utf-8")):
            assert re.search(rf"`{key}\b", part), f"docs/scores.md: {name}.json: {key}"
