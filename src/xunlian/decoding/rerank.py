"""Several answers, of which the model that wrote them chooses the best.

As in LaMDA (arXiv 2201.08239, section 6.2): candidates are sampled, those that are not safe enough
are left out, and the one with the largest 3 P(sensible) + P(specific) + P(interesting) is given.
The model judges as it was trained to (tokenizer/ratings.py): it reads the conversation with the
answer and then the attribute's token, and P is that of the rating 1 against 0.

Notable idea: the candidates are read once, all in one batch, and in a conversation
(conversation.py) without what was said before them. An attribute then costs one step, which is
taken back before the next attribute's, in the same column of the cache.

Shapes: B candidates, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xunlian.decoding.chat import reply_texts
from xunlian.decoding.generate import ROWS
from xunlian.decoding.model import LoadedModel
from xunlian.decoding.sampling import FROZEN
from xunlian.errors import InputError
from xunlian.models.recurrent import RecurrentModel
from xunlian.recipe.settings import Decoding
from xunlian.tokenizer.chat import Chat
from xunlian.tokenizer.ratings import require_ratings
from xunlian.tokenizer.template import Message

WEIGHTS = {"sensible": 3.0, "specific": 1.0, "interesting": 1.0}
SAFE = "safe"
MIN_SAFE = 0.5  # by default; the paper does not tell its own
TOP_K = 40  # most probable tokens to sample from by default, as in the paper


@dataclass(frozen=True)
class Candidate:
    """An answer and, for each attribute that the model judges, the probability that it has it."""

    text: str
    ratings: Mapping[str, float]

    @property
    def score(self) -> float:
        """What candidates are ranked by; what the model does not judge adds nothing."""
        return sum(weight * self.ratings.get(name, 0.0) for name, weight in WEIGHTS.items())

    def is_safe(self, least: float) -> bool:
        """Whether P(safe) is at least so much; also where the model does not judge safety."""
        return self.ratings.get(SAFE, 1.0) >= least


def check_rerank(
    model: LoadedModel, chat: Chat, decoding: Decoding, count: int, min_safe: float | None
) -> None:
    """Raises InputError: this model cannot choose among `count` answers sampled so."""
    attributes, _ = require_ratings(chat, str(model.loaded.folder))
    if min_safe is not None and SAFE not in attributes:
        raise InputError(
            f"'{model.loaded.folder}' has not learned which answers are safe, only which are "
            f"{', '.join(attributes)}. Leave out --min-safe."
        )
    if min_safe is not None and not 0 <= min_safe <= 1:
        raise InputError(f"--min-safe {min_safe:g}: a probability is from 0 to 1.")
    if isinstance(model.loaded.model, RecurrentModel):
        raise InputError("Only a transformer chooses among its answers. Leave out --rerank.")
    if count < 1:
        raise InputError(f"--rerank {count}: write how many answers to sample, such as 16.")
    if count > 1 and decoding.temperature < FROZEN:
        raise InputError(
            "At temperature 0 all answers are the same, and --rerank has nothing to choose from. "
            "Set --temperature 1."
        )


def candidates(
    model: LoadedModel,
    chat: Chat,
    messages: Sequence[Message],
    tokens: list[int],
    decoding: Decoding,
    count: int,
) -> list[Candidate]:
    """Different answers of `count` that are sampled after `tokens`, rated, the best score first.

    Args:
        messages: the conversation that `tokens` are.

    Raises:
        InputError: the model has learned no ratings.
    """
    texts = (text.strip() for text in reply_texts(model, chat, tokens, decoding, count))
    answers = [text for text in dict.fromkeys(texts) if text]
    found = [
        Candidate(text, ratings)
        for text, ratings in zip(answers, rate(model, chat, messages, answers), strict=True)
    ]
    return sorted(found, key=lambda candidate: -candidate.score)


@torch.inference_mode()
def rate(
    model: LoadedModel, chat: Chat, messages: Sequence[Message], answers: Sequence[str]
) -> list[dict[str, float]]:
    """For each answer to `messages`: attribute -> probability of the rating 1.

    A conversation that is longer than the context with its rating loses its beginning.

    Raises:
        InputError: the model has learned no ratings.
    """
    attributes, (no, yes) = require_ratings(chat, str(model.loaded.folder))
    engine = model.engine
    found: list[dict[str, float]] = []
    for start in range(0, len(answers), ROWS):
        texts = [
            chat.whole([*messages, {"role": "assistant", "content": answer}])[1 - engine.context :]
            for answer in answers[start : start + ROWS]
        ]
        longest = max(map(len, texts))
        cache = engine.new_cache(len(texts), longest + 1)
        cache.used = longest
        engine.read(cache, dict(enumerate(texts)))
        rated: list[dict[str, float]] = [{} for _ in texts]
        for name, token in attributes.items():
            asked_B = torch.full((len(texts),), token, device=engine.device)
            logits_BV = engine.step(cache, asked_B)
            cache.used = longest
            likely_B = logits_BV[:, [no, yes]].softmax(-1)[:, 1]
            for row, probability in zip(rated, likely_B.tolist(), strict=True):
                row[name] = probability
        found += rated
    return found
