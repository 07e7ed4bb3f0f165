"""Other processes that hold a lock."""

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
    """Let another process write to a folder; yields its number, and kills it at the end."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()
