"""Files of the project that a script reaches, found by reading its imports without running anything."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "panvision"


def reached_files(script: Path, source_root: Path, package: str = PACKAGE) -> set[Path]:
    """Every file of `package` that `script` can come to read, the script itself and scripts beside it that it imports.

    Followed are the imports of modules and of functions (a lazy import is one too), the `__init__.py` of every
    package on the way, and files that are beside a reached module and that it names in a string (templates).
    Code under `if TYPE_CHECKING:` is never imported and does not count.

    Args:
        script: the stage script.
        source_root: folder that holds the package (`src`).
        package: the package followed; other packages are the lock file's matter.
    """
    reached: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix != ".py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        module = _module_name(path, source_root)
        for name in _imported_names(tree, module, is_package=path.name == "__init__.py"):
            if name.split(".")[0] == package:
                waiting.extend(_files_of(name, source_root))
            elif module is None:
                waiting.extend(_files_of(name, path.parent))
        if module is not None:
            waiting.extend(_named_files(tree, path.parent))
    return reached


def _module_name(path: Path, source_root: Path) -> str | None:
    """Dotted name of a module below `source_root`, None for a script elsewhere."""
    if not path.is_relative_to(source_root):
        return None
    parts = path.relative_to(source_root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported_names(tree: ast.AST, module: str | None, *, is_package: bool) -> Iterator[str]:
    """Dotted names that the code imports: `a.b` for `import a.b`, `a.b` and `a.b.c` for `from a.b import c`."""
    for node in _nodes_that_run(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package=is_package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_module(node.func):
            if not (node.args and isinstance(node.args[0], ast.Constant)):
                raise ValueError(f"{module}, line {node.lineno}: an import whose name is computed cannot be followed")
            yield str(node.args[0].value)


def _is_import_module(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"import_module", "__import__"}


def _absolute(node: ast.ImportFrom, module: str | None, *, is_package: bool) -> str:
    """The module named by `from … import`, with leading dots resolved."""
    if node.level == 0:
        return node.module or ""
    if module is None:
        raise ValueError(f"line {node.lineno}: a script has no package for a relative import")
    parts = module.split(".") + ([""] if is_package else [])
    return ".".join([*parts[: -node.level], *([node.module] if node.module else [])])


def _nodes_that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _files_of(name: str, source_root: Path) -> Iterator[Path]:
    """Files that importing the dotted `name` runs: each package's `__init__.py`, then the module if it is one."""
    path = source_root
    for part in name.split("."):
        path = path / part
        if path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")
            return
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"


def _named_files(tree: ast.AST, folder: Path) -> Iterator[Path]:
    """Files other than modules, beside a module or below it, that one of its strings names."""
    beside = {path.name: path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.rsplit("/", 1)[-1]
            if name in beside:
                yield beside[name]
