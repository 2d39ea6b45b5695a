"""Records of well-known problem sets to conversations: the problem asked, its solution answered.

- SQuAD, CMRC, DRCD: `{"paragraphs": [{"context": "...", "qas": [{"question": "...",
  "answers": [{"text": "..."}]}]}]}`, or `{"context": ..., "question": ..., "answers": ...}`
- HumanEval, MBXP: `{"prompt": "def f(x): ...", "canonical_solution": "    return x"}`
- MBPP: `{"text": "Write a function ...", "code": "def f(x): ...", "test_list": ["assert ..."]}`

`evaluate --task` asks in the same words.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from xunlian.tokenizer.template import Message

Conversation = list[Message]


def problems_of(record: Mapping[str, Any]) -> tuple[str, list[Conversation]] | None:
    """(the form's name, the conversations of a record), or None when it is none of these."""
    if isinstance(record.get("paragraphs"), list) or {"context", "question", "answers"} <= set(
        record
    ):
        return "SQuAD", list(_passages(record))
    if isinstance(record.get("canonical_solution"), str):
        prompt = str(record.get("prompt"))
        return "HumanEval", [_solved(prompt, _head(prompt) + record["canonical_solution"])]
    if isinstance(record.get("code"), str) and isinstance(record.get("test_list"), list):
        asked = record.get("text", record.get("prompt"))
        return "MBPP", [_solved("\n".join([str(asked), *record["test_list"]]), record["code"])]
    return None


def _passages(record: Mapping[str, Any]) -> Iterator[Conversation]:
    for paragraph in record.get("paragraphs", [record]):
        for asked in paragraph.get("qas", [paragraph]):
            turns = [_turn("user", f"{paragraph['context']}\n\n{asked['question']}")]
            if answers := list(_answers(asked.get("answers"))):
                turns.append(_turn("assistant", answers[0]))
            yield turns  # one without an answer is counted as such


def _answers(given: Any) -> Iterator[str]:
    """Of a list of objects or texts, or of an object of lists, as the data sets' hub has it."""
    if isinstance(given, Mapping):
        given = given.get("text") or []
    for answer in given or []:
        yield str(answer["text"] if isinstance(answer, Mapping) else answer)


def _head(prompt: str) -> str:
    """What a program begins with: the prompt without the description in its last function."""
    bare = prompt.rstrip()
    for quotes in ('"""', "'''"):
        if bare.endswith(quotes):
            return bare[: bare.rfind(quotes, 0, -3)].strip() + "\n"
    return prompt.lstrip()


def _solved(asked: str, answer: str) -> Conversation:
    return [_turn("user", asked), _turn("assistant", answer)]


def _turn(role: str, text: str) -> Message:
    return {"role": role, "content": text}
