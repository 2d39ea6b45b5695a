"""Questions to a model, many at once, and its answers.

A model with a chat template is asked as in a chat: the user's message is the question, cleaned as
`prepare --chat` cleans. One without goes on with a text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from xunlian.console import progress, warn
from xunlian.corpus.clean import clean
from xunlian.decoding.chat import fit_prompt
from xunlian.decoding.generate import generate_texts
from xunlian.decoding.model import LoadedModel, check_rows
from xunlian.errors import InputError
from xunlian.recipe.settings import Decoding
from xunlian.tokenizer.chat import Chat
from xunlian.tokenizer.template import Message, TemplateError


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        name: by which it is told from others in the results.
        messages: for a model with a chat template; the last one is the user's.
        text: for one without, which goes on with it.
        answer: a right answer as a model should give it, for examples (`--shots`).
        gap: what stands between `text` and an answer.
    """

    name: str
    messages: list[Message]
    text: str
    answer: str
    gap: str = " "


def ask_plainly(name: str, asked: str, answer: str, before: str = "") -> Question:
    """A question in words; `before` is a text to read first."""
    message = clean(f"{before}\n\n{asked}" if before else asked, Counter()).strip()
    text = f"{before}\n\n" if before else ""
    text += f"问题：{asked}\n答案：" if is_chinese(asked) else f"Question: {asked}\nAnswer:"
    gap = "" if is_chinese(asked) else " "
    return Question(name, [{"role": "user", "content": message}], text, answer, gap)


PLAIN_STOPS = ("\n\n", "\nQuestion:", "\n问题：")
"""Where an answer to `ask_plainly` ends, when nothing else ends it."""


def is_chinese(text: str) -> bool:
    """Whether a text has Chinese characters."""
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)


@dataclass(frozen=True)
class Respondent:
    """A model that is asked, and how.

    Attributes:
        chat: None: the model has no chat template.
        shots: questions that are shown with their answers before each question.
    """

    model: LoadedModel
    chat: Chat | None
    decoding: Decoding
    shots: Sequence[Question] = ()

    def prompts(self, questions: Sequence[Question]) -> list[list[int] | None]:
        """The tokens of each question; None where they leave no room in the context.

        Raises:
            InputError: the chat template does not take the messages, or no question has room.
        """
        fitted = [self._tokens(question) for question in questions]
        found = [tokens for tokens, _ in fitted]
        for tokens in found:
            check_rows(self.model.loaded, tokens or ())
        if shortened := sum(left_out > 0 for _, left_out in fitted):
            warn(
                f"{shortened:,} of {len(questions):,} questions are asked without their first turns"
                f" or examples: with them they are longer than the {self.model.engine.context:,} "
                "tokens that the model sees."
            )
        if all(tokens is None for tokens in found):
            raise InputError(
                f"No question fits: the model sees {self.model.engine.context:,} tokens at once, "
                "and all of them have more. Take shorter ones, or fewer --shots."
            )
        return found

    def answers(
        self, questions: Sequence[Question], *, samples: int = 1, stop: Sequence[str] = ()
    ) -> list[list[str]]:
        """`samples` answers to each question; none to one that has no room. An answer ends with its
        turn or text, at `max_tokens`, or where the context is full.

        Args:
            stop: where answers end that are not given in a chat.

        Raises:
            InputError: as `prompts`.
        """
        prompts = self.prompts(questions)
        wanted = [
            (number, tokens)
            for number, tokens in enumerate(prompts)
            if tokens is not None
            for _ in range(samples)
        ]
        ends = set(self.model.loaded.end_ids)
        decoding = self.decoding
        if self.chat is None:
            decoding = decoding.model_copy(update={"stop": decoding.stop or tuple(stop)})
        elif self.chat.turn_end_id is not None:
            ends.add(self.chat.turn_end_id)
        tokenizer = self.chat.tokenizer if self.chat else self.model.loaded.tokenizer
        pieces: list[list[str]] = [[] for _ in wanted]
        with progress() as bar:
            task = bar.add_task("answer", total=len(wanted))
            for place, piece, stream in generate_texts(
                self.model.engine, tokenizer, [tokens for _, tokens in wanted], decoding, ends
            ):
                if len(wanted[place][1]) + stream.tokens <= self.model.engine.context:
                    pieces[place].append(piece)
                bar.advance(task, stream.finish is not None)
        answers: list[list[str]] = [[] for _ in questions]
        for (number, _), said in zip(wanted, pieces, strict=True):
            answers[number].append("".join(said))
        return answers

    def _tokens(self, question: Question) -> tuple[list[int] | None, int]:
        """The tokens, and how many turns before the question were left out."""
        context = self.model.engine.context
        if self.chat is None:
            shown = "".join(f"{shot.text}{shot.gap}{shot.answer}\n\n" for shot in self.shots)
            tokens = self.model.loaded.tokenizer.encode_prompt(shown + question.text)
            return (tokens, 0) if len(tokens) < context else (None, 0)
        messages = [
            message
            for shot in self.shots
            for message in (*shot.messages, {"role": "assistant", "content": shot.answer})
        ]
        messages += question.messages
        try:
            return fit_prompt(self.chat, messages, context, self.decoding.max_tokens)
        except InputError as error:
            if isinstance(error.__cause__, TemplateError):
                raise
            return None, 0
