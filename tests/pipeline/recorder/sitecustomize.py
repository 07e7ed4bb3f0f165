"""Python runs this at start where a test put the folder on PYTHONPATH: it writes down what a stage script reads.

Below `$PANVISION_RECORD`, in a folder named after the script and its arguments:
    params   one key path of params.yaml a line, written when a stage uses that key's value
    modules  one file a line, of every panvision module imported until the end

A value counts as used when the attribute of the settings object that `read_sections` gave out is read; reading the
object as a whole (dumping, copying, hashing or pickling it) uses all its keys. Checking values while they are parsed
does not count, nor do settings that came from elsewhere, a checkpoint for example.

With `$PANVISION_KILL` (`phase2 3 SIGKILL`), the training of that phase gets that signal after that number of steps.
"""

import atexit
import os
import signal
import sys
from pathlib import Path


def record(folder: Path) -> None:
    """Watch panvision.core.params in this process and in its forked children."""
    from panvision.core import params

    written: set[str] = set()
    given_out: dict[int, tuple[str, params.Settings]] = {}  # kept alive, so that an id stays one object's
    read_sections = params.read_sections

    def write(key: str) -> None:
        if key not in written:
            written.add(key)
            with (folder / "params").open("a") as file:
                file.write(key + "\n")

    def give_out(path: str, settings: params.Settings) -> None:
        for name in type(settings).model_fields:
            value = object.__getattribute__(settings, name)
            if isinstance(value, params.Settings):
                give_out(f"{path}.{name}", value)
        given_out[id(settings)] = (path, settings)

    def watched_sections(*args: object, **kwargs: object) -> dict:
        sections = read_sections(*args, **kwargs)
        for name, settings in sections.items():
            if isinstance(settings, params.Settings):
                give_out(name, settings)
            else:
                write(name)
        return sections

    def watched_attribute(settings: params.Settings, name: str) -> object:
        path = given_out[id(settings)][0] if id(settings) in given_out else None
        if path is not None:
            fields = type(settings).model_fields
            for key in fields if name == "__dict__" else [name] if name in fields else []:
                if not isinstance(object.__getattribute__(settings, key), params.Settings):
                    write(f"{path}.{key}")
        return object.__getattribute__(settings, name)

    def write_modules() -> None:
        files = {str(getattr(module, "__file__", "")) for name, module in sys.modules.items() if _ours(name)}
        (folder / "modules").write_text("".join(f"{file}\n" for file in sorted(files)))

    params.read_sections = watched_sections
    params.Settings.__getattribute__ = watched_attribute
    atexit.register(write_modules)


def kill_after(steps: int, number: signal.Signals) -> None:
    """Send this process a signal when its training has taken that many steps."""
    from panvision.training import fit

    step = fit.train_step

    def counted(state: "fit.TrainState", *given: object) -> dict:
        values = step(state, *given)
        if state.step + 1 == steps:
            os.kill(os.getpid(), number)
        return values

    fit.train_step = counted


def _ours(name: str) -> bool:
    return name == "panvision" or name.startswith("panvision.")


def _start() -> None:
    command = sys.orig_argv[1:]
    if "PANVISION_RECORD" in os.environ and command and command[0].startswith("stages/"):
        folder = Path(os.environ["PANVISION_RECORD"]) / " ".join(command).replace("/", " ")
        folder.mkdir(parents=True, exist_ok=True)
        record(folder)
    phase, step, name = os.environ.get("PANVISION_KILL", "- 0 -").split()
    if command == ["stages/train.py", phase]:
        kill_after(int(step), signal.Signals[name])


_start()
