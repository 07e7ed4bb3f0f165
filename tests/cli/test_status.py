import subprocess
import sys

import pytest

from panvision.cli.status import StatusLine, narrated_on_stderr


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (True, True), (False, False)])
def test_status_line_is_for_terminals_and_is_wiped(capsys, monkeypatch, terminal, quiet):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with pytest.raises(OSError, match="full"), StatusLine(quiet=quiet) as status:
        status.show("reading …")
        raise OSError("full")
    assert capsys.readouterr() == ("", "\r\x1b[Kreading …\r\x1b[K" if terminal and not quiet else "")


def test_narration_of_all_processes_goes_to_stderr(capfd):
    print("before")
    with pytest.raises(OSError, match="full"), narrated_on_stderr():
        print("here")
        subprocess.run([sys.executable, "-c", "print('there')"], check=True)
        raise OSError("full")
    print("after")
    said = capfd.readouterr()
    assert said.out == "before\nafter\n" and set(said.err.split()) == {"here", "there"}
