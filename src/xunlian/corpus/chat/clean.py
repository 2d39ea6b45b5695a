"""Light cleaning of conversations, and what makes one unfit to learn from.

A conversation is: perhaps a system message, then the user and the assistant in turn, beginning with
the user; an assistant may call tools and go on after their answers. A last turn that nobody
answers teaches nothing and is left off.
"""

import re
from collections import Counter

from xunlian.corpus.chat.formats import Broken, Conversation, NoAnswer
from xunlian.corpus.clean import clean, is_blank

MOST_TURNS = 5_000  # where an answer stands is found by writing all that is before it
_SURROGATE = re.compile("[\ud800-\udfff]")
# Some writers leave the token that ended an answer at its end.
_ENDS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "</s>")
# Who may speak after whom; None: nobody has spoken yet.
_AFTER = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}


def clean_conversation(turns: Conversation, changes: Counter[str]) -> Conversation:
    """The cleaned conversation. What changed is added to `changes`.

    Raises:
        Broken: a turn is empty, or out of order, or nobody answers, or there are too many.
    """
    if len(turns) > MOST_TURNS:
        raise Broken(f"it has {len(turns):,} turns, more than {MOST_TURNS:,}: divide it")
    cleaned = []
    for number, turn in enumerate(turns, 1):
        text = turn["content"]
        if _SURROGATE.search(text):
            raise Broken(f"turn {number} holds half a character")
        text = clean(text, changes)
        bare = text.strip()
        if turn["role"] == "assistant":
            for end in _ENDS:
                bare = bare.removesuffix(end).rstrip()
        changes["trimmed_turns"] += bare != text
        if number == 1 and turn["role"] == "system" and is_blank(bare):
            changes["empty_systems"] += 1
            continue
        cleaned.append({"role": turn["role"], "content": bare})
    skipped = len(turns) - len(cleaned)
    before = None
    for number, turn in enumerate(cleaned, 1 + skipped):
        role = turn["role"]
        if role not in _AFTER[before]:
            after = f"after {before}" if before else "at the beginning"
            raise Broken(
                f"turn {number} is of {role} {after}, where {' or '.join(_AFTER[before])} speaks"
            )
        if is_blank(turn["content"]):
            raise Broken(f"turn {number}, of {role}, is empty")
        before = role
    while cleaned and cleaned[-1]["role"] != "assistant":
        cleaned.pop()
        changes["unanswered_turns"] += 1
    if not cleaned:
        raise NoAnswer("no turn is the assistant's: there is no answer to learn")
    return cleaned
