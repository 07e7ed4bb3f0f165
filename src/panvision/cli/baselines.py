"""`panvision baselines`: the shared model beside single-task ones, from the experiments that DVC keeps."""

import json

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import json_flag, option, project, project_of


@command(
    about="Compares the shared model with the single-task experiments of its commit: each test metric shared, alone, "
    "and the difference. Writes metrics/baselines.json, which the report and `panvision summary` show.",
    examples={
        "the experiments of the last commit": "panvision baselines",
        "those of another commit": "panvision baselines --rev HEAD~1",
        "with an experiment as the shared model, for programs": "panvision baselines --shared lunar-mask --json",
    },
    sections={
        "project": project(positional=True),
        "experiments": [
            option("--rev", "The git revision whose experiments are compared.", default="HEAD", metavar="REV"),
            option(
                "--shared",
                "Run of the shared model: an experiment, `workspace`, or `commit` for the commit's own.",
                metavar="NAME",
                show_default="the one with the most baselines that differ from it in tasks alone",
            ),
        ],
        "output": [json_flag("shared and tasks, as in metrics/baselines.json")],
    },
)
def run(args: Args) -> int:
    """Compare, write and print."""
    from panvision.core.files import write_json
    from panvision.experiments.baselines import RESULT, compare, described, show_experiments
    from panvision.experiments.git import commit_of

    folder = project_of(args)
    found = compare(show_experiments(folder, "--rev", commit_of(folder, args.rev)), args.shared)
    write_json(folder / RESULT, found)
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else described(found))
    return Exit.DONE
