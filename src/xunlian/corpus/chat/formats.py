"""A record of a file, in any of the forms that conversations have in the wild, to conversations.

What is known, each with the usual other names of its fields:

- OpenAI messages: `{"messages": [{"role": "user", "content": "..."}, ...]}`
- ShareGPT: `{"conversations": [{"from": "human", "value": "..."}, ...], "system": "..."}`
- Alpaca: `{"instruction": "...", "input": "...", "output": "...", "history": [["...", "..."]]}`
- prompt and completion: `{"prompt": "...", "completion": "..."}`, as texts or lists of messages
- dialogue lists: turns without roles, which take turns, as texts, objects or pairs of texts
- problem sets (problems.py): SQuAD and CMRC, HumanEval and MBXP, MBPP

Roles come out as system, user, assistant and tool. A partner that a file calls 'system' or 'sys'
is the assistant where nobody else is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from xunlian.corpus.chat.problems import Conversation, problems_of
from xunlian.tokenizer.template import Message

FORMATS = (
    "messages (role, content), conversations (from, value), instruction / input / output, "
    "prompt / completion, question / answer, lists of turns, SQuAD, HumanEval and MBPP"
)

TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "utterances",
          "chat")  # fmt: skip
_ROLES = ("role", "from", "speaker", "author", "sender")
_TEXTS = ("content", "value", "text", "utterance", "message", "body")
ASKED = ("instruction", "prompt", "question", "query", "problem", "user", "human", "input")
_ANSWERS = ("output", "response", "completion", "answer", "assistant", "reply", "target",
            "solution", "golden")  # fmt: skip
_SYSTEMS = ("system", "system_prompt", "system_message")

_NAMES = {
    "system": ("system", "developer", "sys"),
    "user": ("user", "human", "usr", "customer", "client", "prompter", "questioner", "用户",
             "顾客", "客户", "人类", "提问者"),
    "assistant": ("assistant", "gpt", "bot", "chatgpt", "model", "ai", "agent", "chatbot", "wizard",
                  "function_call", "tool_call", "助手", "客服", "机器人", "回答者"),
    "tool": ("tool", "function", "observation", "tool_response", "function_response", "ipython",
             "environment"),
}  # fmt: skip
_ROLE_OF = {name: role for role, names in _NAMES.items() for name in names}


class Unknown(Exception):
    """A record in none of the known forms."""


class Broken(Exception):
    """A record in a known form with a mistake; the message says which."""


class NoAnswer(Broken):
    """A conversation in which the assistant says nothing."""


def conversations_of(record: Any) -> tuple[str, list[Conversation]]:
    """(the form's name, the conversations of a record): nearly always one.

    Raises:
        Unknown: it has none of the known forms.
        Broken: a turn is not text, or of nobody known.
    """
    if isinstance(record, list):
        return "dialogue list", [turns_of(record)[1]]
    if not isinstance(record, dict):
        raise Unknown
    system = system_of(record)
    for key in TURNS:
        if isinstance(record.get(key), list) and record[key]:
            name, turns = turns_of(record[key])
            return name, [with_system(system, turns)]
    try:
        if problems := problems_of(record):
            return problems
    except (KeyError, TypeError, AttributeError) as error:
        raise Broken("a problem of it lacks its text, its question or its tests") from error
    asked, answer = first_of(record, ASKED), first_of(record, _ANSWERS)
    if asked is None and answer is None:
        raise Unknown
    if asked == "instruction" and isinstance(record.get("instances"), list):
        rows = [{**record, **row} for row in record["instances"] if isinstance(row, dict)]
        return "Alpaca", [with_system(system, _asked(row, "instruction")) for row in rows]
    if asked is None or answer is None:
        raise Unknown
    name = "Alpaca" if (asked, answer) == ("instruction", "output") else f"{asked} and {answer}"
    return name, [with_system(system, _asked(record, asked))]


def system_of(record: Mapping[str, Any]) -> Conversation:
    """A record's own system message, and what it says of tools."""
    return [
        {"role": "system", "content": record[key]}
        for key in (*_SYSTEMS, "tools")
        if isinstance(record.get(key), str) and record[key].strip() not in ("", "[]")
    ]


def first_of(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in record), None)


def with_system(system: list[Message], turns: Conversation) -> Conversation:
    """The record's own system message, unless the turns begin with one."""
    if not system or (turns and turns[0]["role"] == "system"):
        return turns
    joined = "\n\n".join(message["content"].strip() for message in system)
    return [{"role": "system", "content": joined}, *turns]


def _asked(record: Mapping[str, Any], key: str) -> Conversation:
    """Of an instruction and its output, or a prompt and its completion."""
    answer = str(first_of(record, _ANSWERS))
    said = record.get(answer)
    if is_messages(said):
        return [*prompt_of(record, key), *turns_of(said)[1]]
    return [*prompt_of(record, key), message("assistant", said, answer)]


def prompt_of(record: Mapping[str, Any], key: str) -> Conversation:
    """What stands under `key`: messages, or an instruction with its input and history.

    Raises:
        Unknown, Broken: as `conversations_of`.
    """
    asked = record[key]
    if is_messages(asked):
        return turns_of(asked)[1]
    turns = []
    history = record.get("history")
    if isinstance(history, list):
        turns = turns_of(history)[1]
    text = _text(asked, key)
    if key != "input" and record.get("input") not in (None, ""):
        text = f"{text}\n\n{_text(record['input'], 'input')}"
    return [*turns, {"role": "user", "content": text}]


def is_messages(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def message(role: str, value: Any, place: str) -> Message:
    return {"role": role, "content": _text(value, place)}


def turns_of(turns: Sequence[Any]) -> tuple[str, Conversation]:
    """(the form's name, the messages)."""
    if all(isinstance(turn, dict) for turn in turns):
        role, text = (
            next((key for key in names if any(key in turn for turn in turns)), None)
            for names in (_ROLES, _TEXTS)
        )
        if text is None and not any("tool_calls" in turn for turn in turns):
            raise Unknown
        name = {("role", "content"): "OpenAI messages", ("from", "value"): "ShareGPT"}.get(
            (str(role), str(text)), "dialogue list"
        )
        said = [_said(turn, str(text), i) for i, turn in enumerate(turns, 1)]
        if role is None:
            return name, _by_turns(said)
        who = [_role(turn.get(role), i) for i, turn in enumerate(turns, 1)]
        if "assistant" not in who and "system" in who[1:]:
            who = ["assistant" if one == "system" else one for one in who]
        return name, [{"role": r, "content": t} for r, t in zip(who, said, strict=True)]
    return "dialogue list", _by_turns(list(_flat(turns)))


def _by_turns(texts: Sequence[str]) -> Conversation:
    """Without roles: user and assistant take turns."""
    return [
        {"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)
    ]


def _flat(turns: Sequence[Any]) -> Iterator[str]:
    """Texts, or pairs of a question and its answer."""
    for i, turn in enumerate(turns, 1):
        if isinstance(turn, list) and len(turn) == 2:
            yield from (_text(part, f"turn {i}") for part in turn)
        else:
            yield _text(turn, f"turn {i}")


def _role(given: Any, number: int) -> str:
    role = _ROLE_OF.get(str(given).strip().lower())
    if role is None:
        raise Broken(
            f"turn {number} is of '{given}', who is neither system, user, assistant nor tool"
        )
    return role


def _said(turn: Mapping[str, Any], key: str, number: int) -> str:
    value = turn.get(key)
    if value in (None, "") and turn.get("tool_calls"):
        calls = turn["tool_calls"]
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise Broken(f"turn {number} has tool_calls that are no list of objects")
        calls = [call.get("function", call) for call in calls]
        return json.dumps(calls if len(calls) > 1 else calls[0], ensure_ascii=False)
    return _text(value, f"turn {number}")


def _text(value: Any, place: str) -> str:
    """What stands in a field as text."""
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        kinds = {str(part.get("type")) for part in value} - {"text"}
        if kinds:
            raise Broken(f"{place} has a part of type '{min(kinds)}', and only text is learned")
        value = "\n".join(str(part.get("text") or "") for part in value)
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Broken(f"{place} is not text")
    return value
