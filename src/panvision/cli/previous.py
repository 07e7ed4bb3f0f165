"""`panvision previous`: keep an earlier commit's test metrics where the report shows them beside the present ones."""

import json
import sys

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import argument, json_flag, project, project_of


@command(
    about="Keeps an earlier commit's test metrics in metrics/previous.json, where the report shows them beside the "
    "present ones, and whether the difference is more than noise where the results of both are available.",
    examples={
        "the last commit with other metrics than the present ones": "panvision previous",
        "another one": "panvision previous HEAD~3",
    },
    sections={
        "arguments": [
            argument(
                "rev",
                "A git revision (default: the last commit whose test metrics differ from the present ones).",
                required=False,
                metavar="[REV]",
            )
        ],
        "project": project(),
        "output": [json_flag("commit and tasks, as in metrics/previous.json")],
    },
)
def run(args: Args) -> int:
    """Compare, write and print."""
    from panvision.core.files import write_json
    from panvision.experiments.previous import RESULT, compare_with, described

    folder = project_of(args)
    found, remark = compare_with(folder, args.rev)
    write_json(folder / RESULT, found)
    if args.json and remark:
        print(remark, file=sys.stderr)
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else described(found, remark))
    return Exit.DONE
