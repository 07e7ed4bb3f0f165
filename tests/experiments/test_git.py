import pytest

from panvision.experiments.git import git


@pytest.mark.process
def test_git_raises_the_callers_error_with_its_remedy(tmp_path, monkeypatch):
    with pytest.raises(LookupError, match=r"^`git no-such command` failed: .*no-such.* \(in .*\); try another$"):
        git(tmp_path, "no-such", "command", failure=LookupError, remedy="try another")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LookupError, match="git is not installed"):
        git(tmp_path, "status", failure=LookupError, remedy="try another")
