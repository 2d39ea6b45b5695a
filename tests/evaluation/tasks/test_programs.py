"""Problems in the forms of the wild, and the programs that answers make of them."""

import json
import subprocess
import sys

import pytest
from conftest import shared_data

from xunlian.errors import InputError
from xunlian.evaluation.tasks.programs import read_problem
from xunlian.evaluation.tasks.records import Record
from xunlian.evaluation.tasks.sandbox import Limits, run_programs
from xunlian.machine.features import available_cores

LIMITS = Limits(seconds=30)

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n"
    '    """ Add them.\n    """\n',
    "entry_point": "total",
    "canonical_solution": "    found = 0\n    for number in numbers:\n"
    "        found += number\n    return found\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n"
    "    assert candidate([]) == 0",
}
MBPP = {
    "task_id": 3,
    "text": "Write a function to double a number.",
    "code": "def double(x):\n  return 2 * x",
    "test_setup_code": "seven = 7",
    "test_list": ["assert double(1) == 2", "assert double(seven) == 14"],
}


def problem(row, **changes):
    return read_problem(Record("'file', record 1", {**row, **changes}))


def passed(problem, *answers, in_chat=False):
    sources = [problem.program(answer, in_chat) for answer in answers]
    return [outcome.passed for outcome in run_programs(sources, LIMITS, 2, lambda _: None)]


def test_an_answer_may_be_the_body_or_the_whole_function_with_or_without_a_fence():
    body = HUMANEVAL["canonical_solution"]
    whole = f"def total(numbers: List[int]) -> int:\n{body}"
    fenced = f"Here it is:\n\n```python\n{whole}```\n\nIt adds `numbers`.\n```\n1/0\n```"
    found = problem(HUMANEVAL)
    assert passed(found, body, whole, fenced, f"```\n{body}```") == [True] * 4
    assert (
        passed(found, "    return 3\n", "    return sum(number)\n", "I cannot.", "") == [False] * 4
    )


@pytest.mark.parametrize(
    "said",
    [
        "found = 0\n    for number in numbers:\n        found += number\n    return found",
        "found = 0\nfor number in numbers:\n    found += number\nreturn found",
        "return sum(numbers)",
        "def total(numbers):\n    return sum(numbers)",
        "```python\nfrom typing import List\n\ndef total(numbers: List[int]):\n"
        "    return sum(numbers)\n```",
    ],
)
@pytest.mark.parametrize("prompt", [HUMANEVAL["prompt"], "def total(numbers):"])
def test_what_is_said_in_a_chat_has_lost_its_first_indentation(said, prompt):
    if "List" not in said or "import" in said:
        assert passed(problem(HUMANEVAL, prompt=prompt), said, in_chat=True) == [True]


def test_a_function_may_be_called_check_and_have_helpers_after_it():
    named = problem(HUMANEVAL, prompt="def check(numbers):", entry_point="check")
    assert passed(named, "return sum(numbers)", "return 1", in_chat=True) == [True, False]
    helped = "return add(numbers)\n\ndef add(numbers):\n    return sum(numbers)"
    assert passed(problem(HUMANEVAL), helped, in_chat=True) == [True]


def test_mbpps_own_form_shows_the_tests_and_takes_whole_programs():
    found = problem(MBPP)
    shown = f"{MBPP['text']}\nassert double(1) == 2\nassert double(seven) == 14"
    assert found.question.messages == [{"role": "user", "content": shown}]
    assert found.question.text == f'"""\n{shown}\n"""\n'
    assert passed(found, MBPP["code"], "def double(x):\n  return x") == [True, False]


def test_words_with_an_entry_point_are_no_code_to_go_on_with():
    found = problem(HUMANEVAL, prompt="Write total(numbers).")
    assert not found.begun
    assert passed(found, "def total(x):\n  return sum(x)", "  return sum(x)") == [True, False]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": " "}, "there is no test: give it a field test, or test_list"),
        ({"test": None, "test_list": []}, "there is no test"),
        ({"prompt": ""}, "has no field prompt, text or question; it has task_id, prompt,"),
        ({"entry_point": None}, "no field entry_point says for what"),
        ({"entry_point": "a b"}, "'a b', is no name of a function"),
        ({"language": "java"}, "only Python problems can be run, and this one is 'java'"),
    ],
)
def test_what_cannot_be_run_is_refused_by_its_place(changes, words):
    with pytest.raises(InputError) as caught:
        problem(HUMANEVAL, **changes)
    assert str(caught.value).startswith("'file', record 1") and words in str(caught.value)


# Their solutions are wrong as the data has them: they fail in a plain interpreter, too.
FAULTY = {f"MBPP/{n}" for n in (64, 160, 341, 367, 596, 601, 607, 631, 642, 927, 966)}


def canonical(name, every):
    """Problems that need no library with their solutions."""
    lines = shared_data(f"code/{name}").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines if "scipy" not in line][::every]
    return [(problem(row), row["canonical_solution"]) for row in rows]


def check_canonical(found):
    programs = [
        program
        for each, solution in found
        for program in (
            each.program(solution, False),
            each.program(solution.strip(), True),
            each.program("  return 'wrong'", False),
        )
    ]
    outcomes = run_programs(programs, LIMITS, available_cores(), lambda _: None)
    passed = [outcome.passed for outcome in outcomes]
    names = [each.question.name for each, _ in found]
    for kind in (passed[0::3], passed[1::3]):
        assert {name for name, fine in zip(names, kind, strict=True) if not fine} <= FAULTY
    assert not any(passed[2::3]), "a wrong solution passes"


def test_known_solutions_of_mbpp_pass_and_wrong_ones_do_not():
    found = canonical("mbpp_release_v1.jsonl", 33)
    assert len(found) == 30 and not FAULTY & {each.question.name for each, _ in found}
    check_canonical(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("mbpp_release_v1.jsonl", 974), ("mathqa-test-python_v1.jsonl", 1855)]
)
def test_all_known_solutions_pass(name, count):
    found = canonical(name, 1)
    assert len(found) == count
    check_canonical(found)


@pytest.mark.slow
def test_faulty_solutions_of_mbpp_fail_in_a_plain_interpreter_too(tmp_path):
    for each, solution in canonical("mbpp_release_v1.jsonl", 1):
        if each.question.name in FAULTY:
            (tmp_path / "program.py").write_text(each.program(solution, False), "utf-8")
            done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True)
            assert done.returncode == 1, each.question.name
