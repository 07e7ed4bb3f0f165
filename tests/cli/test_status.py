import pytest

from panvision.cli.status import StatusLine


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (True, True), (False, False)])
def test_it_is_on_terminals_only_and_gone_in_the_end(capsys, monkeypatch, terminal, quiet):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with pytest.raises(OSError, match="full"), StatusLine(quiet=quiet) as status:
        status.show("reading …")
        raise OSError("full")
    assert capsys.readouterr() == ("", "\r\x1b[Kreading …\r\x1b[K" if terminal and not quiet else "")
