"""From a programming problem and what a model wrote to a program that tests itself."""

import ast
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import Any

from xunlian.corpus.clean import clean
from xunlian.evaluation.tasks.asking import Question
from xunlian.evaluation.tasks.records import Record

_FENCED = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)

# Where the code of a model that only goes on with texts ends, as in bigcode-evaluation-harness
# (https://github.com/bigcode-project/bigcode-evaluation-harness): of a body, or of a program.
BODY_STOPS = ("\nclass ", "\ndef ", "\n#", "\n@", "\nprint(", "\nif ", "\n```")
PROGRAM_STOPS = ("\nassert", '\n"""', "\nprint(", "\nif ", "\n```")


_OUTSIDE = ("def ", "async def ", "class ", "@")


@dataclass(frozen=True)
class Problem:
    """A function to write.

    Attributes:
        prompt: the beginning of the function, or words.
        entry_point: the function's name, where that is known.
        begun: whether `prompt` is code that begins the function, so that an answer may go on.
        before: code that the tests need.
        test: code that raises when the function is wrong.
    """

    question: Question
    prompt: str
    entry_point: str | None
    begun: bool
    before: str
    test: str

    def program(self, answer: str, in_chat: bool) -> str:
        """The program that an answer makes, with its tests.

        Of an answer with code between ``` that counts alone. It is the function, whole, or the rest
        of it; the first line of what was said in a chat has lost its indentation.
        """
        fenced = _FENCED.search(answer)
        code = fenced[1] if fenced else answer
        if self.begun and self.entry_point:
            if _defines(code, self.entry_point):
                code = f"{_head(self.prompt, self.entry_point)}{code}"
            elif in_chat or fenced:
                code = f"{self.prompt.rstrip()}\n{_indented(code, self.prompt)}"
            else:
                code = self.prompt + code
        parts = [self.before, code, self.test]
        if _checks(self.test):  # the function itself may be called check, as four of MBPP's are
            parts[2:] = [f"_candidate = {self.entry_point}", self.test, "check(_candidate)"]
        return "\n\n".join(part for part in parts if part)


def read_problem(record: Record) -> Problem:
    """A row in the form of HumanEval and MBXP (task_id, prompt, entry_point, test), or of MBPP
    (text or prompt, test_list).

    Raises:
        InputError: a field is missing, there is no test, or the language is not Python.
    """
    fields = record.fields
    language = fields.get("language") or "python"
    if str(language).lower() not in ("python", "py", "python3"):
        raise record.wrong(f"only Python problems can be run, and this one is '{language}'.")
    prompt = record.text("prompt", "text", "question")
    test = _test(record)
    entry_point = fields.get("entry_point") or None
    if entry_point is not None and not str(entry_point).isidentifier():
        raise record.wrong(f"its entry_point, '{entry_point}', is no name of a function.")
    if _checks(test) and entry_point is None:
        raise record.wrong("its test defines check(), but no field entry_point says for what.")
    begun = entry_point is not None and _defines(prompt, entry_point)
    asked = clean(prompt, Counter())
    text = asked
    if not begun:
        if fields.get("test_list"):
            asked = f"{asked.strip()}\n{test}"
        text = f'"""\n{asked.strip()}\n"""\n'
    question = Question(
        str(fields.get("task_id", record.place)),
        [{"role": "user", "content": asked.strip()}],
        text,
        str(fields.get("canonical_solution") or fields.get("code") or ""),
        "",
    )
    imports = fields.get("test_imports") or []
    before = [*(imports if isinstance(imports, list) else [imports]), fields.get("test_setup_code")]
    return Problem(
        question, prompt, entry_point, begun, "\n".join(str(part) for part in before if part), test
    )


def problem_question(record: Record) -> Question:
    """Raises InputError: as `read_problem`, or there is no solution to show."""
    question = read_problem(record).question
    if not question.answer.strip():
        raise record.wrong("it has no canonical_solution to show as an example.")
    return question


def _test(record: Record) -> str:
    given: Any = record.fields.get("test") or record.fields.get("test_list")
    if isinstance(given, list):
        given = "\n".join(map(str, given))
    if not isinstance(given, str) or not given.strip():
        raise record.wrong("there is no test: give it a field test, or test_list.")
    return given


def _checks(test: str) -> bool:
    """Whether a test only defines what is to be called, as HumanEval's do."""
    return re.search(r"^def check\(", test, re.MULTILINE) is not None


def _defines(code: str, name: str) -> bool:
    return _start(code, name) is not None


def _start(code: str, name: str) -> re.Match[str] | None:
    return re.search(rf"^(?:(?:async )?def|class) {re.escape(name)}\b", code, re.MULTILINE)


def _head(prompt: str, name: str) -> str:
    """What stands before the function, such as imports, if it is code."""
    start = _start(prompt, name)
    head = prompt[: start.start()] if start else ""
    try:
        ast.parse(head)
    except (SyntaxError, ValueError):
        return ""
    return head


def _indented(code: str, prompt: str) -> str:
    """The body of a function whose first line may have lost its indentation."""
    code = code.strip("\n")
    if not code or code[0] in " \t":
        return code
    last = prompt.rstrip().rpartition("\n")[2]
    own = last[: len(last) - len(last.lstrip())]
    indent = own or "    "
    later = [line for line in code.splitlines()[1:] if line.strip()]
    outside = [line for line in later if line[0] not in " \t"]
    # All lines have lost it, unless what stands outside are further functions.
    if outside and not any(line.startswith(_OUTSIDE) for line in outside):
        return textwrap.indent(code, indent)
    if not own and later:
        shallowest = min(later, key=lambda line: len(line) - len(line.lstrip()))
        indent = shallowest[: len(shallowest) - len(shallowest.lstrip())]
    return indent + code
