"""`panvision summary`: the test metrics of the pipeline's last run as a short table, and where its results are."""

import json

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import json_flag, project, project_of


@command(
    about="Shows the test metrics of the pipeline's last run with their intervals, and where its results are.",
    examples={
        "of the project in the current folder": "panvision summary",
        "of another, for programs": "panvision summary --project ../pans --json",
    },
    sections={"project": project(positional=True), "output": [json_flag("figures, baselines and files")]},
)
def run(args: Args) -> int:
    """Print the table."""
    from panvision.experiments.summary import summary, to_json

    folder = project_of(args)
    print(json.dumps(to_json(folder), indent=2, ensure_ascii=False) if args.json else summary(folder))
    return Exit.DONE
