"""`panvision experiments`: a leaderboard of DVC experiments and commits."""

import json

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import Number, flag, json_flag, option, project, project_of


@command(
    about="Prints one line per run of the pipeline, the best first: the workspace, commits, and their DVC experiments, "
    "with the headline metrics of the test split and the params that differ from the newest commit.",
    examples={
        "the last commit and its experiments": "panvision experiments",
        "the last ten commits": "panvision experiments --commits 10",
        "every commit, for programs": "panvision experiments --all_commits --json",
    },
    sections={
        "project": project(positional=True),
        "runs": [
            option("--commits", "Number of commits, from the last one back.", type=Number(1), default=1),
            flag("--all_commits", "Every commit of every branch; slow in a long history."),
        ],
        "output": [json_flag("runs, a list of name, commit, time, score, metrics and changed")],
    },
)
def run(args: Args) -> int:
    """Print the table."""
    from panvision.experiments.baselines import show_experiments
    from panvision.experiments.git import commit_of
    from panvision.experiments.leaderboard import leaderboard, shown, to_json

    folder = project_of(args)
    last = ["--rev", commit_of(folder, "HEAD"), "--num", str(args.commits)]
    places = leaderboard(show_experiments(folder, *(["--all-commits"] if args.all_commits else last)))
    print(json.dumps({"runs": to_json(places)}, indent=2, ensure_ascii=False) if args.json else shown(places))
    return Exit.DONE
