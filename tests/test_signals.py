"""A first signal asks a run to stop, a second one ends it."""

import signal

import pytest

from jaxseg import signals


def test_one_process(monkeypatch):
    # Programs that a shell starts in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    now = [10.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    with signals.watched() as stop:
        assert not stop.agreed()
        assert not stop.heard()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # passed on by who got it too
        assert stop.heard()
        assert stop.agreed()
        now[0] += 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    signal.signal(signal.SIGINT, before)
