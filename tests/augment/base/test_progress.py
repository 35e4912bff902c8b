import threading
import time

import pytest

from augment.base import progress


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(progress, "PERIOD", 0.02)


def said(capsys, enough):
    """What was said on standard error once `enough` is there; standard output stays clean."""
    lines, deadline = "", time.monotonic() + 20
    while enough not in lines:
        assert time.monotonic() < deadline, f"not said: {enough}; said: {lines!r}"
        time.sleep(0.01)
        out, err = capsys.readouterr()
        assert not out
        lines += err
    return lines


def test_without_a_terminal_long_work_says_what_it_does_and_how_far(quick, capsys):
    with progress.bar(3, "training", "model"):
        assert "training: 0 of 3 models in 0 s\n" in said(capsys, "\n")
        with progress.bar(25, "tuning ease", "trial") as shown:
            shown.update(5)
            assert "training: 0 of 3 models in 0 s; tuning ease: 5 of 25 trials in 0 s, 0 s left\n" in said(
                capsys, "5 of 25"
            )
            # Not left behind by the work itself: it is said while a single step takes long.
            assert said(capsys, "trials").count("\n") >= 1


def test_it_is_silent_when_the_work_ends_even_in_an_error(quick, capsys):
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), progress.bar(1, "dividing"):
        1 / 0  # noqa: B018
    for _ in progress.track(range(2), "counting", "number"):
        pass
    deadline = time.monotonic() + 20
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_short_work_says_nothing(capsys):
    assert list(progress.track(iter("abc"), "spelling", "letter", 3)) == list("abc")
    assert capsys.readouterr() == ("", "")


def test_time_left_is_what_the_rest_takes_at_this_rate():
    one = progress._Counted(10, "made", "sample")
    one.start -= 120
    one.update(4)
    assert str(one) == "made: 4 of 10 samples in 2 min 0 s, 3 min 0 s left"
    unknown = progress._Counted(None, "read", "row")
    unknown.update(12_000)
    assert str(unknown) == "read: 12,000 rows in 0 s"
