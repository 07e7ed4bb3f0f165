"""`panvision compare`: is one revision's model better than another's, or is the difference noise?"""

import json

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import argument, flag, json_flag, project, project_of


@command(
    about="Scores two models on the same test images, from the results that DVC keeps of each, "
    "and says which differences are more than noise, and in which params the two runs differ. Nothing is checked out.",
    examples={
        "the workspace against the last commit": "panvision compare HEAD",
        "two experiments": "panvision compare lunar-mask solid-pan",
        "for a pull request, or for programs": "panvision compare main HEAD --markdown",
    },
    sections={
        "arguments": [
            argument("one", "Git revision, DVC experiment, or `workspace`.", metavar="REV_A"),
            argument("other", "The other one (default: workspace).", default="workspace", metavar="[REV_B]"),
        ],
        "project": project(),
        "output": [
            json_flag("one, other, params and tasks"),
            flag("--markdown", "Print Markdown, as for a pull request."),
        ],
    },
)
def run(args: Args) -> int:
    """Print the comparison."""
    from panvision.core.tasks import TASKS
    from panvision.experiments.compare import differing, markdown, text
    from panvision.experiments.paired import compare_results, to_json
    from panvision.experiments.revisions import params_of, results_of

    if args.json and args.markdown:
        raise click.UsageError("--json and --markdown exclude each other.")
    folder = project_of(args)
    one, other = (results_of(folder, rev) for rev in (args.one, args.other))
    found = [compare_results(one[task], other[task]) for task in TASKS]
    params = differing(params_of(folder, args.one), params_of(folder, args.other))
    if args.json:
        tasks = {each.task: to_json(each) for each in found}
        described = {"one": args.one, "other": args.other, "params": params, "tasks": tasks}
        print(json.dumps(described, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False))
    else:
        print((markdown if args.markdown else text)(args.one, args.other, found, params))
    return Exit.DONE
