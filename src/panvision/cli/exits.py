"""Exit codes of `panvision`: commands return them, and help lists them."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes. 70 and 75 are those of sysexits.h."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    WARNINGS = 3
    GATE = 4
    INTERNAL = 70
    STOPPED = 75
    INTERRUPTED = 130


# Meanings, unless a command has a more exact one. Not every command returns STOPPED, WARNINGS and GATE.
MEANINGS = {
    Exit.DONE: "done",
    Exit.ERROR: "an error, reported in one line with its remedy",
    Exit.USAGE: "wrong usage",
    Exit.WARNINGS: "done, but with warnings or without some files",
    Exit.GATE: "done, but a metric does not pass its gate",
    Exit.INTERNAL: "an error in panvision itself; --debug shows where",
    Exit.STOPPED: "stopped by a signal, the state saved",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}
# Every command can return these.
ALWAYS = (Exit.DONE, Exit.ERROR, Exit.USAGE, Exit.INTERNAL, Exit.INTERRUPTED)
