"""Other processes that hold what a command wants."""

import subprocess
import sys
from contextlib import contextmanager

HOLDER = """
import sys
from pathlib import Path
from panvision.cli.lock import only_writer
with only_writer(Path(sys.argv[1]), "--build"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder):
    """Another process writes to a folder; the block gets its number, and at its end the process is killed."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()
