"""What orbax and TensorStore say of a failed save, and how much of it is shown."""

import sys

from jaxseg import orbax_errors


def test_what_the_system_says_is_not_cut_off():
    told = f"Error writing {'a/long/path' * 50}: failed [os_error_code='28']"
    reason = orbax_errors.reason(ValueError(told))
    assert reason.startswith("No space left on device: Error writing a/long/path")
    assert len(reason) == 300
    assert orbax_errors.reason(ValueError()) == "ValueError"


class Failing:
    """Raises an error where nobody can catch it."""

    def __init__(self, told):
        self.told = told

    def __del__(self):
        raise RuntimeError(self.told)


def test_pages_are_passed_over(monkeypatch, capsys):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    orbax_errors.silence()
    for told in ("Event loop is closed", "another one"):
        Failing(told)
    shown = capsys.readouterr().err
    assert "another one" in shown
    assert "Event loop" not in shown
