"""The params that each stage of dvc.yaml reads, and the stages after it, according to DVC."""

from dataclasses import dataclass
from pathlib import Path

import networkx
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo


@dataclass(frozen=True)
class Stage:
    """One stage; those of a matrix count as one.

    Attributes:
        name: as in dvc.yaml.
        params: the keys and sections that it reads.
        downstream: the stages that run again when its outputs change, in the order of the pipeline.
    """

    name: str
    params: tuple[str, ...]
    downstream: tuple[str, ...]

    def reads(self, key: str) -> bool:
        """True if the stage reads a key of params.yaml, or a section above it."""
        return any(key == named or key.startswith(f"{named}.") for named in self.params)


def read_stages(root: Path) -> list[Stage]:
    """Return the stages of a project's dvc.yaml, each after those that it needs.

    Raises:
        dvc.exceptions.DvcException: not a project, or an invalid dvc.yaml.
    """
    with Repo(str(root)) as repo:
        graph = repo.index.graph  # stage → the stages that it needs
        ordered = [node for node in networkx.lexicographical_topological_sort(graph.reverse(), key=str) if node.cmd]
        rank = {_name(node): number for number, node in enumerate(ordered)}
        found: dict[str, Stage] = {}
        for node in ordered:
            # Stages without a command come from `dvc add`.
            later = {_name(other) for other in networkx.ancestors(graph, node) if other.cmd} - {_name(node)}
            named = {key for dep in node.deps if isinstance(dep, ParamsDependency) for key in dep.params}
            before = found.get(_name(node))
            if before is not None:
                later |= set(before.downstream)
                named |= set(before.params)
            found[_name(node)] = Stage(_name(node), tuple(sorted(named)), tuple(sorted(later, key=rank.__getitem__)))
    return list(found.values())


def rerun_by(key: str, stages: list[Stage]) -> tuple[list[str], list[str]]:
    """The stages that read a key, and those that run again only because one of these does."""
    readers = [stage.name for stage in stages if stage.reads(key)]
    later = {name for stage in stages if stage.name in readers for name in stage.downstream}
    return readers, [stage.name for stage in stages if stage.name in later - set(readers)]


def stages_text(root: Path) -> str:
    """A table of the stages: which sections of params.yaml each reads of, what runs after it."""
    lines = ["| stage | reads of params.yaml | then run |", "|---|---|---|"]
    for stage in read_stages(root):
        params = ", ".join(f"`{name}`" for name in dict.fromkeys(name.split(".")[0] for name in stage.params))
        lines.append(f"| `{stage.name}` | {params} | {', '.join(stage.downstream) or 'nothing'} |")
    return "\n".join(lines)


def _name(node: object) -> str:
    """A stage's name; of a matrix, without the row: `prepare@detection` is `prepare`."""
    return str(node.name).split("@")[0]  # type: ignore[attr-defined]
