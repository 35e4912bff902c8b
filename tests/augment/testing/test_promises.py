import subprocess
import sys

import pytest

from augment.base.errors import UsageError
from augment.contracts.registry import find, names
from augment.testing import engines
from augment.testing.promises import registered


class Sundial:
    name = "sundial"

    def map(self, work, items):
        return map(work, items)


def test_without_pytest_there_is_a_remedy_and_nothing_of_ours_imports_it(monkeypatch):
    code = "import sys, augment.testing.strategies, augment.testing.sources; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(UsageError, match=r"pytest is not installed, .*: pip install 'sparring\[test\]'"):
        engines.suite(Sundial)


def test_a_plug_in_is_registered_for_a_while():
    with registered("engines", Sundial):
        assert find("engines", "sundial") is Sundial
        assert names("engines") == ["inline", "sundial"]
    with pytest.raises(UsageError, match="no engine is registered as 'sundial'"):
        find("engines", "sundial")


def test_two_suites_of_one_kind_do_not_share_their_cases():
    one, other = engines.suite(Sundial), engines.suite(find("engines", "inline"))
    assert [mark.kwargs["ids"] for suite in (one, other) for mark in suite.pytestmark] == [["sundial"], ["inline"]]
