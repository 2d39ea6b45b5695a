"""Programming problems: how often do the programs that a model writes pass their tests?

pass@k is the probability that of k programs at least one passes, estimated without bias from more
(Chen et al., arXiv 2107.03374). sandbox.py runs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xunlian.console import progress, warn
from xunlian.evaluation.tasks.asking import Respondent
from xunlian.evaluation.tasks.estimates import pass_at_k, wilson_interval
from xunlian.evaluation.tasks.grades import Grades
from xunlian.evaluation.tasks.programs import BODY_STOPS, PROGRAM_STOPS, Problem
from xunlian.evaluation.tasks.sandbox import Limits, run_programs, try_sandbox
from xunlian.machine.features import available_cores


@dataclass(frozen=True)
class Samples:
    """How many programs are written for each problem, for which k, and how long each may run."""

    count: int
    pass_at: Sequence[int]
    seconds: float


def grade_code(problems: Sequence[Problem], respondent: Respondent, samples: Samples) -> Grades:
    """pass@k over the problems.

    Raises:
        InputError: as `Respondent.answers` and `try_sandbox`.
    """
    limits = Limits(seconds=samples.seconds)
    walls = try_sandbox(limits)
    if walls != "kernel":
        warn(
            "This system cannot wall off the programs that the model writes; Python itself refuses "
            "them files and network, which stops accidents, not attacks. Use a container."
        )
    stops = BODY_STOPS if any(problem.begun for problem in problems) else PROGRAM_STOPS
    answers = respondent.answers(
        [problem.question for problem in problems], samples=samples.count, stop=stops
    )
    written = [
        (number, answer, problems[number].program(answer, respondent.chat is not None))
        for number, given in enumerate(answers)
        for answer in given
    ]
    with progress() as bar:
        task = bar.add_task("run", total=len(written))
        outcomes = run_programs(
            [source for _, _, source in written],
            limits,
            available_cores(),
            lambda done: bar.advance(task, done),
        )
    right = [0] * len(problems)
    rows = []
    for (number, answer, _), outcome in zip(written, outcomes, strict=True):
        right[number] += outcome.passed
        rows.append(
            {
                "task_id": problems[number].question.name,
                "completion": answer,
                "passed": outcome.passed,
                "result": outcome.error or "passed",
            }
        )
    scores = {
        f"pass@{k}": sum(pass_at_k(samples.count, each, k) for each in right) / len(right)
        for k in samples.pass_at
    }
    intervals = {}
    if samples.count == 1:  # a share of problems; of several samples they are not independent
        intervals["pass@1"] = wilson_interval(sum(right), len(right))
    return Grades(
        scores,
        rows,
        len(problems),
        sum(not given for given in answers),
        intervals,
        signature=[f"samples:{samples.count}", f"timeout:{samples.seconds:g}s", f"walls:{walls}"],
    )
