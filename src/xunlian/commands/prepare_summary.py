"""What `xunlian prepare` says when a corpus is whole."""

from typing import TYPE_CHECKING

from xunlian.console import say, warn
from xunlian.recipe.settings import CHAT_TASKS

if TYPE_CHECKING:
    from xunlian.shards.corpus import Corpus


def summarize(corpus: "Corpus") -> None:
    """Say how much there is of what, what was left out, and what comes next."""
    from xunlian.corpus.guard import UNABLE

    train, val = corpus.split_card("train"), corpus.split_card("val")
    card = corpus.card
    dropped = card["dropped"]
    unit = "documents" if corpus.task == "language-model" else CHAT_TASKS.get(corpus.task, "pairs")
    say(
        f"{train['documents']:,} {unit} to train on, {val['documents']:,} to validate; "
        f"{train['bytes'] + val['bytes']:,} bytes of text"
    )
    stages = card.get("stages", {})
    counted = stages.get("read", {}).get("changes", {})
    unable = sum(stage["dropped"].get(why, 0) for stage in stages.values() for why in UNABLE)
    aside = {
        "file": counted.get("broken_files", 0),
        "member": counted.get("broken_members", 0),
        "document": unable,
    }
    if any(aside.values()):
        told = " and ".join(_plural(count, what) for what, count in aside.items() if count)
        warn(f"Set aside because they cannot be read: {told}. {corpus.path}/report.html has why.")
    if before := counted.get("before_damage"):
        warn(f"Of damaged files {_plural(before, 'document')} before the damage stayed.")
    gone = {name: sum(stage["dropped"].values()) for name, stage in stages.items()}
    if any(gone.values()):
        told = ", ".join(f"{count:,} by {name}" for name, count in gone.items() if count)
        say(f"Left out by the stages: {told}. {corpus.path}/report.html has why.")
    if any(dropped.values()):
        reasons = (f"{n:,} {reason.replace('_', ' ')}" for reason, n in dropped.items() if n)
        say(f"Left out: {', '.join(reasons)}")
    if wrong := dropped.get("wrong_language"):
        source, target = corpus.languages.values()
        warn(
            f"{wrong:,} {'pair was' if wrong == 1 else 'pairs were'} dropped because a side is in "
            f"another script than its language "
            f"(source {source}, target {target})."
        )
    for column in train.get("columns", {None: None}):
        side = f"{column} " if column else ""
        say(
            f"{corpus.tokens('train', column):,} {side}tokens to train on, "
            f"{corpus.tokens('val', column):,} to validate"
        )
    if corpus.task in CHAT_TASKS:
        answers = [split["answer_tokens"] for split in (train, val)]
        say(f"Of these the answers, which are learned: {answers[0]:,} and {answers[1]:,}")
        if corpus.turn_end_id is None:
            warn(
                "The chat template ends an answer with no special token: a model that learns from "
                "this will not know when to stop."
            )
    fertility = card["fertility"]
    parts = [f"{fertility['tokens_per_byte']:.3f} a byte"]
    if fertility["english_tokens_per_word"]:
        parts.append(f"{fertility['english_tokens_per_word']:.2f} an English word")
    if fertility["chinese_tokens_per_character"]:
        parts.append(f"{fertility['chinese_tokens_per_character']:.2f} a Chinese character")
    say(
        f"Vocabulary {corpus.vocab_size:,} ({card['tokenizer']['kind']}"
        f"{', one for each side' if card['tokenizer'].get('separate') else ''}); tokens: "
        f"{', '.join(parts)}"
    )
    say(
        f"Next: xunlian train RECIPE corpus.path={corpus.path}   "
        "(`xunlian recipe list` shows recipes)"
    )


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
