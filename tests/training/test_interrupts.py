"""Ctrl-C and SIGTERM while a step runs: the first waits for its end, the second does not."""

import signal

import pytest

from xunlian.training.interrupts import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_is_not_waited_with(number, capsys):
    before = signal.getsignal(number)
    with interruptible() as interrupted:
        handler = signal.getsignal(number)
        assert handler is not before and not interrupted()
        handler(number, None)
        assert interrupted()
        assert "a checkpoint will be written" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            handler(number, None)
    assert signal.getsignal(number) is before
