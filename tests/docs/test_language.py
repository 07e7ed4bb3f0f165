"""Docstrings, comments, messages and pages are in plain English: openings, and words that have a plainer one."""

import ast
import io
import re
import tokenize

import pytest

from tests.pipeline.scratch import ROOT

FOLDERS = ("src", "stages", "docs", "benchmarks", "tests", "presets")
# A docstring opens with a verb or a noun phrase.
OPENING = re.compile(
    r"(What|Whether|How|Where|Who|Why|When|Which|That|This|These|Those|It|They|There|Here|And|But|Also|So|If|Because|"
    r"As|Of|In|On|At|To|From|With|Without|Under|For|By|Nothing|Nobody|Only)\b"
)
# Words without a right use here, and their replacements; "there is no" and "is no longer" are plain.
REPLACED = {
    r"told|tells|tell": "report, print, log, warn",
    r"bears?": "has, is labelled",
    r"lies?|lay": "is, is stored",
    r"st(?:ands?|ood)": "is, is stored",
    r"anew": "again",
    r"likest": "most similar",
    r"mend(?:s|ed|ing)?": "fix",
    r"judg(?:e|es|ed|ing)": "check, score",
    r"signs(?! of)": "characters",
    r"whoever|nobody|somebody|whatever": "the actor's name",
    r"shall": "must",
    r"at hand": "available",
    r"(?:has|have) not(?! (?:been|yet))": "does not have, did not",
    r"as \w+ has it": "as in …",
    r"so (?:many|much)": "the number",
    r"(?<!there )is no(?! (?:longer|more))": "is not a",
    r"go(?:es)? on": "resume, continue",
    r"of (?:its|their) own": "own, separate",
    r"likewise": "the same, also",
}


def texts(path):
    """Return the comments and strings of a Python file, or a page, as (line, text)."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return [(1, source)]
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start[0], token.string) for token in tokens if token.type in kinds]


FILES = [
    path
    for path in (*ROOT.glob("*.*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")))
    if path.suffix in (".py", ".md", ".yaml", ".jinja", ".toml") and path.name != "test_language.py"
]


def replaced(files):
    """Return where the words are used."""
    pattern = re.compile(rf"\b(?:{'|'.join(f'({words})' for words in REPLACED)})\b", re.IGNORECASE)
    return [
        f"{path.relative_to(ROOT)}:{line + text.count(chr(10), 0, match.start())}: {match[0]}: write "
        f"{list(REPLACED.values())[match.lastindex - 1]}"
        for path in files
        for line, text in texts(path)
        for match in pattern.finditer(text)
    ]


def test_replaced_words_do_not_come_back():
    assert replaced(FILES) == []


def openings(path):
    """Return the docstrings of a file that open with another kind of word than a verb or a noun."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    said = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]
    return [f"{path.relative_to(ROOT)}: {text.splitlines()[0]}" for text in said if OPENING.match(text)]


def test_docstrings_open_with_a_verb_or_a_noun():
    assert [text for path in FILES if path.suffix == ".py" for text in openings(path)] == []


def test_a_replaced_word_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.docs.test_language.ROOT", tmp_path)
    (tmp_path / "a.py").write_text('"""Good.\n\nWhoever reads."""\nlies = "there is no such file"  # it is no file\n')
    found = replaced([tmp_path / "a.py"])
    assert found == ["a.py:3: Whoever: write the actor's name", "a.py:4: is no: write is not a"]


@pytest.mark.parametrize("text", ["What it does.", "Whether a file exists.", "Of one image.", "It stops."])
def test_other_openings_are_found(text):
    assert OPENING.match(text) and not OPENING.match(text.replace(text.split()[0], "Return"))
