import pytest

from panvision.cli.main import main
from panvision.cli.parser import full_parser
from tests.cli.shown import help_of


@pytest.mark.parametrize("topic", ["predict", "help", None])
def test_it_is_what_the_option_shows(capsys, monkeypatch, topic):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main(["help", *([topic] if topic else [])])
    assert not stop.value.code
    assert capsys.readouterr().out == (help_of(topic) if topic else full_parser().format_help())
