"""Talking with a model: in the terminal, in a pipe, and from Python."""

import io
import json
import sys

import pytest
from made_run import byte_tokenizer, make_model

import xunlian
from xunlian.cli import main
from xunlian.commands import chat as command
from xunlian.decoding.chat import fit_prompt
from xunlian.errors import InputError
from xunlian.tokenizer.chat import load_chat, make_chat

GREEDY = ["--temperature", "0", "--precision", "fp32", "--max-tokens", "12"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Qwen3 with a chat template, written by Transformers."""
    tokenizer = make_chat(byte_tokenizer(), None)[0].tokenizer
    return make_model(tmp_path_factory.mktemp("model"), tokenizer, context=160)


def theirs(folder, messages, tokens=12):
    """Transformers' greedy answer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    model = AutoModelForCausalLM.from_pretrained(folder)
    found = model.generate(
        **asked, do_sample=False, max_new_tokens=tokens, eos_token_id=tokenizer.eos_token_id
    )
    ids = found[0, asked["input_ids"].shape[1] :].tolist()
    # Bytes of an unfinished character at the end are not shown.
    return tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd")


def user(text):
    return {"role": "user", "content": text}


def test_the_answer_is_that_of_transformers(folder):
    said = [{"role": "system", "content": "Be odd."}, user("Hello 你")]
    answer = xunlian.chat(folder, said, temperature=0, max_tokens=12, precision="fp32")
    assert answer.rstrip("\ufffd") == theirs(folder, said)
    again = xunlian.chat(
        folder, "Hello 你", system="Be odd.", temperature=0, max_tokens=12, precision="fp32"
    )
    assert again == answer


def test_messages_of_one_command_are_one_conversation(folder, capsys):
    main(["chat", str(folder), "--message", "a", "--message", "b", "--json", *GREEDY])
    found = json.loads(capsys.readouterr().out)
    roles = [message["role"] for message in found["messages"]]
    assert roles == ["user", "assistant"] * 2
    last = found["messages"][-1]["content"]
    assert last.rstrip("\ufffd") == theirs(folder, found["messages"][:3])


def pipe(monkeypatch, folder, text, *options):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return main(["chat", str(folder), *GREEDY, *options])


def test_each_line_of_a_pipe_is_a_message(folder, monkeypatch, capsys, tmp_path):
    saved = tmp_path / "talk.jsonl"
    text = f"one\n\n/system Be odd.\ntwo\n/save {saved}\n/reset\n  /three\n/quit\nfour\n"
    assert pipe(monkeypatch, folder, text) == 0
    said = json.loads(saved.read_text())["messages"]
    assert [m["content"] for m in said if m["role"] != "assistant"] == ["Be odd.", "one", "two"]
    out = capsys.readouterr().out
    assert out.startswith(said[2]["content"] + "\n" + said[4]["content"] + "\n")
    after = xunlian.chat(folder, [{"role": "system", "content": "Be odd."}, user("/three")],
                         temperature=0, max_tokens=12, precision="fp32")  # fmt: skip
    assert out.endswith("\n" + after + "\n")


def test_a_line_of_a_pipe_that_is_not_utf8_is_told_in_one_line(folder, monkeypatch, capsys):
    gbk = io.TextIOWrapper(io.BytesIO("你好\n".encode("gbk")), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", gbk)
    assert main(["chat", str(folder), *GREEDY]) == 2
    assert "is not UTF-8 text" in capsys.readouterr().err.splitlines()[-1]


def test_a_token_that_the_network_has_no_row_for_is_told(tmp_path, capsys):
    make_model(tmp_path)  # of which the template's tokens are none
    make_chat(byte_tokenizer(), None)[0].tokenizer.save(tmp_path)
    assert main(["chat", str(tmp_path), "--message", "a"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "has 257 tokens, and '<|im_" in told and "is none of them" in told


def test_what_is_saved_can_be_learned(folder, monkeypatch, tmp_path):
    assert pipe(monkeypatch, folder, f"one\n/save {tmp_path / 'talk.jsonl'}\n") == 0
    corpus = xunlian.prepare(
        tmp_path / "talk.jsonl", chat=True, val=0, out=tmp_path / "corpus", tokenizer=folder
    )
    assert corpus.card["sources"][0]["forms"] == {"OpenAI messages": 1}


def test_turns_that_do_not_fit_are_forgotten_oldest_first_and_told(folder, monkeypatch, capsys):
    lines = "".join(f"message number {i}\n" for i in range(6))
    assert pipe(monkeypatch, folder, lines, "--system", "Be odd.") == 0
    told = capsys.readouterr().err
    assert "The first 2 turns are forgotten: the model sees 160 tokens at once." in told
    chat = load_chat(folder)
    talk = [{"role": "system", "content": "Be odd."}, user("x" * 60),
            {"role": "assistant", "content": "y" * 30}, user("z")]  # fmt: skip
    tokens, forgotten = fit_prompt(chat, talk, 160, 40)
    assert forgotten == 2 and tokens == chat.prompt([talk[0], talk[3]])
    assert fit_prompt(chat, talk, 400, 40) == (chat.prompt(talk), 0)


def test_a_first_turn_of_the_assistant_stays_while_there_is_room(folder):
    chat = load_chat(folder)
    talk = [{"role": "assistant", "content": "Hello."}, user("Who?")]
    assert fit_prompt(chat, talk, 160, 40) == (chat.prompt(talk), 0)
    long = [{"role": "assistant", "content": "y" * 120}, user("Who?")]
    assert fit_prompt(chat, long, 160, 40) == (chat.prompt(long[1:]), 1)


def test_a_first_turn_of_the_assistant_goes_where_the_template_wants_the_user_first(tmp_path):
    (tmp_path / "strict.jinja").write_text(
        "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    chat, _ = make_chat(byte_tokenizer(), str(tmp_path / "strict.jinja"))
    talk = [{"role": "assistant", "content": "Hello."}, user("Who?")]
    tokens, left_out = fit_prompt(chat, talk, 160, 40)
    assert (chat.tokenizer.decode(tokens), left_out) == ("user: Who?\nassistant: ", 1)
    with pytest.raises(InputError, match="does not take this: user first"):
        fit_prompt(chat, talk[:1], 160, 40)


def test_a_message_longer_than_the_context_is_refused(folder, capsys):
    assert main(["chat", str(folder), "--message", "x" * 200]) == 2
    told = capsys.readouterr().err
    assert "The message has 2" in told and "160 at once. Say less." in told


def terminal(monkeypatch, folder, lines):
    """Type `lines` in a terminal; one that is an exception is raised."""
    typed = iter([*lines, EOFError()])

    def answer(_):
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        return line

    stdin = io.StringIO()
    stdin.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    return main(["chat", str(folder), *GREEDY])


def test_in_a_terminal_mistakes_do_not_end_the_talk(folder, monkeypatch, capsys, tmp_path):
    (tmp_path / "there").write_text("")
    lines = ["/helpp", "/help", "/save", f"/save {tmp_path / 'there'}", "x" * 300, "/system", "hi"]
    assert terminal(monkeypatch, folder, lines) == 0
    out, told = capsys.readouterr()
    assert out.count("\n") == 1
    for wanted in ("no command /helpp", "/reset ", "/save FILE", "exists already", "Say less",
                   "(system: nothing)"):  # fmt: skip
        assert wanted in told


def test_ctrl_c_stops_the_answer_and_not_the_program(folder, monkeypatch, capsys, tmp_path):
    whole = xunlian.chat(folder, "first", temperature=0, max_tokens=12, precision="fp32")
    answers = command.Session.answer

    def stopped(self, text, role="user"):
        for number, piece in enumerate(answers(self, text, role)):
            if text == "first" and number == 3:
                raise KeyboardInterrupt
            yield piece

    monkeypatch.setattr(command.Session, "answer", stopped)
    lines = ["first", KeyboardInterrupt(), "second", f"/save {tmp_path / 'talk'}"]
    assert terminal(monkeypatch, folder, lines) == 0
    said = json.loads((tmp_path / "talk").read_text())["messages"]
    assert [m["content"] for m in said[::2]] == ["first", "second"]
    assert whole.startswith(said[1]["content"]) and whole != said[1]["content"]
    told = capsys.readouterr().err
    assert "(stopped)" in told and "(/quit or Ctrl-D leaves)" in told


def test_a_model_without_a_template_is_told_so_with_the_mend(tmp_path, capsys):
    from made_run import make_model

    folder = make_model(tmp_path / "model")
    capsys.readouterr()
    assert main(["chat", str(folder), "--message", "a"]) == 2
    told = capsys.readouterr().err
    assert "has no chat template, so it cannot chat. Fine-tune it on conversations" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "last message must be the user's"),
        ([user("a"), {"role": "assistant", "content": "b"}], "last message must be the user's"),
        ([{"text": "a"}], "no message"),
        ("\ud800", "is not UTF-8 text"),
    ],
)
def test_what_is_no_conversation_is_refused(folder, messages, said):
    with pytest.raises(InputError, match=said):
        xunlian.chat(folder, messages)


def test_json_is_for_messages(folder, capsys):
    assert main(["chat", str(folder), "--json"]) == 2
    assert "--json is for --message" in capsys.readouterr().err
