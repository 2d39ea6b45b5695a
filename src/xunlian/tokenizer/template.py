"""Chat templates: a conversation in, the text that a model reads, and which part of it it learns.

Notable ideas:
- Templates are Jinja, in a sandbox, in the environment that Transformers gives them, so those
  written for it work here. A clock they do not get: the same conversation gives the same text.
- What the assistant says is known from `{% generation %}` marks where a template has them. Else
  another text is put in place of each answer, and where it comes out is where the answer stands;
  what the template writes behind it, up to a special token, ends the turn.
- Positions are found by noncharacters of Unicode, which no text may hold (the standard's chapter
  23.7): they mark places while rendering, and are gone afterwards.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from xunlian.errors import InputError
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer

LONGEST = 1 << 20  # what a template may make of a text or list by repeating it

Message = dict[str, str]
"""'role' (system, user, assistant or tool) and 'content'."""

DEFAULT = "chatml"
SHIPPED = {DEFAULT: ("<|im_start|>", "<|im_end|>")}  # and the special tokens they need
_OPEN, _CLOSE, BREAK, _ANSWER = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}{BREAK}{_ANSWER}]")
_TOKEN = re.compile(r"<\|[^|<>\s]+\|>")


class TemplateError(Exception):
    """A template does not take a conversation; the message says why."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text.

    Attributes:
        text: what the model reads. `BREAK` stands in what only looks like a special token.
        learned: (start, end) of what the assistant says, in characters, turn by turn.
        cuts: where each user's turn begins that follows an answer; what stands between the first
            user's turn and one of these can be left out. `head` is where the first begins.
    """

    text: str
    learned: tuple[tuple[int, int], ...]
    head: int
    cuts: tuple[int, ...]


@dataclass(frozen=True)
class Template:
    """A chat template.

    Attributes:
        source: its Jinja.
        name: what to call it in errors.
        variables: what it may ask for beside the messages, such as bos_token.
    """

    source: str
    name: str
    variables: Mapping[str, str]

    def render(
        self, messages: Sequence[Message], specials: Sequence[str] = (), prompt: bool = True
    ) -> str:
        """The text of a conversation, with `prompt` up to where the assistant speaks next.

        `specials` as `render_learned` takes them.

        Raises:
            TemplateError: the template does not take these messages.
        """
        return _unmarked(self._render(_safe(messages, specials), prompt))

    def render_learned(self, messages: Sequence[Message], specials: Sequence[str]) -> Rendered:
        """The text of a conversation with what is learned of it.

        Args:
            specials: the tokenizer's special tokens; what looks like one in a message is text.

        Raises:
            TemplateError: the template does not take these messages, or it changes an answer so
                that it is not found again.
        """
        guarded = _safe(messages, specials)
        marked = self._render(guarded)
        text = _unmarked(marked)
        if self.has_marks:
            learned = _spans(marked)
        else:
            places = [i for i, message in enumerate(guarded) if message["role"] == "assistant"]
            learned = tuple(self._answer(guarded, place, text, specials) for place in places)
        head, *cuts = self._user_turns(guarded, text)
        return Rendered(text, learned, head, tuple(cuts))

    @cached_property
    def has_marks(self) -> bool:
        return bool(re.search(r"\{%-?\s*generation\s*-?%\}", self.source))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The special tokens, of the form <|...|>, that the template writes."""
        return tuple(dict.fromkeys(_TOKEN.findall(self.source)))

    def turn_end(self, specials: Sequence[str]) -> str | None:
        """The special token that ends an answer, if the template writes one."""
        probe = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _ANSWER}]
        try:
            tail = self._render(probe).partition(_ANSWER)[2]
        except TemplateError:
            return None
        found = _first_special(tail, specials)
        return found.group() if found else None

    def _answer(
        self, messages: list[Message], place: int, text: str, specials: Sequence[str]
    ) -> tuple[int, int]:
        """Where the answer stands, with what ends its turn."""
        other = {**messages[place], "content": _ANSWER}
        before, found, after = self._render(
            [*messages[:place], other, *messages[place + 1 :]]
        ).partition(_ANSWER)
        start, end = len(before), len(text) - len(after)
        if not found or start > end or not (text.startswith(before) and text.endswith(after)):
            raise TemplateError(f"it changes the answer in turn {place + 1} beyond recognition")
        tail = self._render([*messages[:place], other]).partition(_ANSWER)[2]
        if special := _first_special(tail, specials):
            tail = tail[: special.end()]
        return start, end + len(tail) if text.startswith(tail, end) else end

    def _user_turns(self, messages: list[Message], text: str) -> list[int]:
        """Where the first user's turn begins, and then each that follows an answer."""
        found = [0]
        for place, message in enumerate(messages):
            if message["role"] != "user" or not place:
                continue
            first = all(m["role"] == "system" for m in messages[:place])
            try:
                before = _unmarked(self._render(messages[:place]))
            except TemplateError:
                continue  # such as: no template for a system message alone
            if not text.startswith(before):
                continue
            if first:
                found[0] = len(before)
            else:
                found.append(len(before))
        return found

    def _render(self, messages: Sequence[Message], prompt: bool = False) -> str:
        try:
            return _compiled(self.source, self.name).render(
                messages=messages, add_generation_prompt=prompt, tools=None, **self.variables
            )
        except InputError:
            raise
        except Exception as error:  # somebody else's program, which may fail in any way
            raise TemplateError(str(error) or type(error).__name__) from error


def template_of(tokenizer: Tokenizer, name: str) -> Template | None:
    """The tokenizer's own template, if it has one. Raises InputError: a mistake in its syntax."""
    if tokenizer.chat_template is None:
        return None
    return checked(Template(tokenizer.chat_template, name, variables_of(tokenizer)))


def variables_of(tokenizer: Tokenizer) -> dict[str, str]:
    """The special tokens that a template may ask for by name, such as bos_token."""
    found = {"eos_token": tokenizer.end_token}
    if tokenizer.pad_id is not None:
        found["pad_token"] = str(tokenizer.backend.id_to_token(tokenizer.pad_id))
    for name, token in tokenizer.names.items():
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            found[name] = token
    return found


def find_template(given: str, variables: Mapping[str, str]) -> Template:
    """The template of this name: shipped, a file, or that of a folder with a tokenizer.

    Raises:
        InputError: there is none, or it has a mistake in its syntax.
    """
    if given in SHIPPED:
        shipped = Path(__file__).with_name(f"{given}.jinja").read_text("utf-8")
        return checked(Template(shipped, given, variables))
    path = Path(given)
    if path.is_dir():
        own = load_tokenizer(path).chat_template
        if own is None:
            raise InputError(
                f"'{given}' has no chat template: neither chat_template.jinja nor one in "
                "tokenizer_config.json."
            )
        return checked(Template(own, given, variables))
    if not path.is_file():
        raise InputError(
            f"There is no chat template '{given}'. Name {', '.join(SHIPPED)}, a .jinja file, or "
            "a model folder that has one."
        )
    try:
        source = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"'{given}' is no template: it is not UTF-8 text.") from error
    return checked(Template(source, given, variables))


def checked(template: Template) -> Template:
    """The template. Raises InputError when it has a mistake in its syntax."""
    _compiled(template.source, template.name)
    return template


def _unmarked(text: str) -> str:
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def plain(text: str) -> str:
    """Without `BREAK`."""
    return text.replace(BREAK, "")


def _safe(messages: Sequence[Message], specials: Sequence[str] = ()) -> list[Message]:
    """The messages without characters that mark places here, and with `BREAK` in special tokens."""
    pattern = any_of(specials)

    def guard(text: str) -> str:
        text = _MARKS.sub("", text)
        return pattern.sub(lambda m: m[0][0] + BREAK + m[0][1:], text) if pattern else text

    return [{**message, "content": guard(message["content"])} for message in messages]


def _spans(marked: str) -> tuple[tuple[int, int], ...]:
    """What stands between the marks, as positions in the text without them."""
    opened = [m.start() for m in re.finditer(_OPEN, marked)]
    closed = [m.start() for m in re.finditer(_CLOSE, marked)]
    return tuple(
        (start - 2 * i, end - 2 * i - 1)
        for i, (start, end) in enumerate(zip(opened, closed, strict=True))
    )


def _first_special(text: str, specials: Sequence[str]) -> "re.Match[str] | None":
    pattern = any_of(specials)
    return pattern.search(text) if pattern else None


def any_of(specials: Sequence[str]) -> "re.Pattern[str] | None":
    return _pattern(tuple(specials))


@cache
def _pattern(specials: tuple[str, ...]) -> "re.Pattern[str] | None":
    longest_first = sorted(specials, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first))) if specials else None


@cache
def _compiled(source: str, name: str) -> Any:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock, Node
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} ... {% endgeneration %}: what the assistant says."""

        tags = {"generation"}  # noqa: RUF012 (so the library has it)

        def parse(self, parser: Any) -> Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            return f"{_OPEN}{caller()}{_CLOSE}"

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent, **options)

    class Environment(ImmutableSandboxedEnvironment):
        """Without powers and long repetitions, which it would even compute while it compiles."""

        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = isinstance(left, int | float) and isinstance(right, int | float)
            if operator == "**" or not (numbers or _repeated(left, right) <= LONGEST):
                raise jinja2.TemplateError(f"'{operator}' makes too much")
            return super().call_binop(context, operator, left, right)

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            f"The chat template '{name}' has a mistake in line {error.lineno}: {error.message}."
        ) from error
    except (SyntaxError, RecursionError) as error:  # such as a break outside of a loop
        raise InputError(f"The chat template '{name}' has a mistake: {error}.") from error


def _repeated(left: Any, right: Any) -> float:
    """How long a text or list is, times a number."""
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int):
            return len(many) * times
    return math.inf
