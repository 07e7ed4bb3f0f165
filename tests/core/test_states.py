import pytest

from panvision.core.params import ParamsError
from panvision.core.states import ClassificationSettings


def test_classification_settings():
    for order in ("auto", ["raw", "burnt"], None):
        parsed = ClassificationSettings.parse({"order": order}).order
        assert (list(parsed) if isinstance(parsed, tuple) else parsed) == order
    for order in ("automatic", ["raw", "raw"], 3):
        with pytest.raises(ParamsError, match=r"^order: [^\n]*$"):
            ClassificationSettings.parse({"order": order})
