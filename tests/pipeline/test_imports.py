from pathlib import Path

import pytest

from tests.pipeline.imports import reached_files


def tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def reached(root: Path, script: str, files: dict[str, str]) -> set[str]:
    tree(root, {"src/shop/__init__.py": "", "script.py": script, **{f"src/shop/{k}": v for k, v in files.items()}})
    return {p.relative_to(root).as_posix() for p in reached_files(root / "script.py", root / "src", "shop")}


ALWAYS = {"script.py", "src/shop/__init__.py"}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("import shop.a", {"src/shop/a.py"}),
        ("import shop.a as other, os", {"src/shop/a.py"}),
        ("from shop import a", {"src/shop/a.py"}),
        ("from shop.a import value", {"src/shop/a.py"}),
        ("def f():\n    from shop.a import value", {"src/shop/a.py"}),
        ("class C:\n    def f(self):\n        import shop.a", {"src/shop/a.py"}),
        ("try:\n    import shop.a\nexcept ImportError:\n    pass", {"src/shop/a.py"}),
        ("import importlib\nimportlib.import_module('shop.a')", {"src/shop/a.py"}),
        ("from shop.room.b import value", {"src/shop/room/__init__.py", "src/shop/room/b.py"}),
        ("from shop.room import b, missing", {"src/shop/room/__init__.py", "src/shop/room/b.py"}),
        ("from shop.room import value", {"src/shop/room/__init__.py"}),
    ],
)
def test_each_form_of_import_is_followed(tmp_path, script, expected):
    files = {"a.py": "", "c.py": "", "room/__init__.py": "", "room/b.py": "", "room/d.py": ""}
    assert reached(tmp_path, script, files) == ALWAYS | expected


@pytest.mark.parametrize("script", ["import os", "import shopping.a", "x = 'shop.a'", ""])
def test_what_is_not_ours_is_not_followed(tmp_path, script):
    assert reached(tmp_path, script, {"a.py": ""}) <= ALWAYS


@pytest.mark.parametrize("guard", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_type_checking_imports_do_not_count_but_their_else_does(tmp_path, guard):
    script = f"if {guard}:\n    import shop.a\nelse:\n    import shop.b"
    assert reached(tmp_path, script, {"a.py": "", "b.py": ""}) == ALWAYS | {"src/shop/b.py"}


def test_imports_of_imports_are_followed_and_circles_end(tmp_path):
    files = {"a.py": "import shop.b", "b.py": "import shop.a\nfrom shop.c import x", "c.py": ""}
    assert reached(tmp_path, "import shop.a", files) == ALWAYS | {"src/shop/a.py", "src/shop/b.py", "src/shop/c.py"}


def test_relative_imports_in_modules_and_packages(tmp_path):
    files = {
        "room/__init__.py": "from .b import x",
        "room/b.py": "from . import c\nfrom ..a import y",
        "room/c.py": "",
        "a.py": "",
    }
    room = {"src/shop/room/__init__.py", "src/shop/room/b.py", "src/shop/room/c.py", "src/shop/a.py"}
    assert reached(tmp_path, "import shop.room", files) == ALWAYS | room


def test_a_file_beside_a_module_that_names_it_is_reached(tmp_path):
    files = {
        "room/__init__.py": "",
        "room/a.py": "load('templates/page.html')",
        "room/templates/page.html": "",
        "room/unused.css": "",
    }
    expected = {"src/shop/room/__init__.py", "src/shop/room/a.py", "src/shop/room/templates/page.html"}
    assert reached(tmp_path, "import shop.room.a", files) == ALWAYS | expected


def test_a_script_beside_a_script_is_reached_only_from_there(tmp_path):
    tree(tmp_path, {"beside.py": "import shop.b", "other.py": "", "os.pyi": ""})
    expected = {"beside.py", "src/shop/a.py", "src/shop/b.py"}
    assert reached(tmp_path, "import beside\nimport shop.a", {"a.py": "import other", "b.py": ""}) == ALWAYS | expected


def test_an_import_with_a_computed_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="line 2"):
        reached(tmp_path, "import shop.a", {"a.py": "import importlib\nimportlib.import_module(name)"})


def test_an_imported_module_outside_the_package_is_not_opened(tmp_path):
    assert reached(tmp_path, "import numpy\nfrom PIL import Image", {}) == {"script.py"}
