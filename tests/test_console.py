"""What goes to a terminal cannot command it."""

import sys

import pytest

from xunlian import cli
from xunlian.console import harmless, say, shown

HOSTILE = "\x1b]52;c;Y3VybA==\x07 a\tb\n\x9b2J"


def test_characters_that_command_a_terminal_are_spelled_out():
    assert harmless(HOSTILE) == r"\x1b]52;c;Y3VybA==\x07 a" + "\tb\n" + r"\x9b2J"
    assert harmless("中文 🎉 é") == "中文 🎉 é"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_pipe_gets_text_as_it_is(monkeypatch, terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert shown(HOSTILE) == (harmless(HOSTILE) if terminal else HOSTILE)


def test_messages_and_errors_are_harmless(tmp_path, capsys):
    say(HOSTILE)
    (tmp_path / "config.json").write_text('{"model_type": "\\u001b]0;title\\u0007"}')
    assert cli.main(["generate", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told and r"\x1b]0;title\x07" in told
