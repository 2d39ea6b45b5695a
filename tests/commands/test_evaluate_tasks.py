"""evaluate --task end to end: a model that recites an answer, and what is refused."""

import csv
import io
import json
import tarfile

import pytest
from conftest import shared_data
from made_chats import written
from made_reciting import make_reciter, write_rows
from made_run import byte_tokenizer, make_model, make_translator

import xunlian
from xunlian.cli import main
from xunlian.corpus.reading.trouble import Limits
from xunlian.errors import InputError
from xunlian.evaluation.tasks.choices import read_choice
from xunlian.evaluation.tasks.questions import read_all
from xunlian.evaluation.tasks.records import read_task
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.models.recurrent import RecurrentConfig, RecurrentModel
from xunlian.recipe.settings import Corpus

LONG, ONE = "decoding.max_tokens=50", "training.threads=1"
ADD = {
    "task_id": "add/1",
    "prompt": 'def add(a, b):\n    """Add two numbers."""\n',
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3",
}


def evaluate(folder, rows, task, *overrides, **options):
    options.setdefault("output", folder / "answers.jsonl")
    result = xunlian.evaluate(folder, rows, [LONG, ONE, *overrides], task=task, **options)
    return result, [json.loads(line) for line in options["output"].read_text("utf-8").splitlines()]


@pytest.mark.parametrize("in_chat", [False, True])
@pytest.mark.parametrize(("operator", "score"), [("+", 1.0), ("-", 0.0)])
def test_a_program_is_run_with_its_tests(tmp_path, in_chat, operator, score):
    said = f"return a {operator} b" if in_chat else f"    return a {operator} b\n\ndef more(): 1/0"
    asked = ADD["prompt"].strip() if in_chat else ADD["prompt"]
    make_reciter(tmp_path, asked, said, chat=in_chat)
    result, rows = evaluate(tmp_path, write_rows(tmp_path / "p.jsonl", ADD), "code")
    assert result["scores"] == {"pass@1": score} and result["items"] == 1
    assert rows[0]["task_id"] == "add/1" and rows[0]["passed"] == bool(score)
    assert rows[0]["result"] == (
        "passed" if score else "AssertionError: assert candidate(1, 2) == 3"
    )
    signature = result["signatures"]["code"]
    assert f"|asked:{'chat' if in_chat else 'text'}|" in signature and "|samples:1|" in signature


def test_several_samples_give_pass_at_k_and_the_same_figures_again(tmp_path, capsys):
    make_model(tmp_path)  # says anything
    rows = write_rows(tmp_path / "p.jsonl", {"prompt": "f", "test_list": ["assert True"]},
                      {"prompt": "g", "test_list": ["assert False"]})  # fmt: skip
    words = ["evaluate", str(tmp_path), str(rows), "--task", "code", "--samples", "4", "--json",
             "--output", str(tmp_path / "out.jsonl"),
             "--pass-at", "1", "3", "decoding.max_tokens=3"]  # fmt: skip
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["scores"]) == ["pass@1", "pass@3"] and result["intervals"] == {}
    first = (tmp_path / "out.jsonl").read_text("utf-8")
    answers = [json.loads(line) for line in first.splitlines()]
    right = sum(row["passed"] for row in answers[:4])
    assert len(answers) == 8 and not any(row["passed"] for row in answers[4:])
    assert result["scores"]["pass@1"] == right / 4 / 2
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == result["scores"]
    assert (tmp_path / "out.jsonl").read_text("utf-8") == first


def test_the_number_at_the_end_of_an_answer_counts(tmp_path, capsys):
    rows = write_rows(tmp_path / "m.jsonl",
                      {"question": "How many is 6 times 7?", "answer": "6*7 = 42\n#### 42"},
                      {"input": "六乘七是多少呢，请计算？", "golden": "41"})  # fmt: skip
    said = "6 times 7 is 42.\n#### 42"
    make_reciter(tmp_path, "How many is 6 times 7?", said, chat=True)
    result, found = evaluate(tmp_path, rows, "math")
    assert result["scores"] == {"accuracy": 0.5}
    assert result["intervals"]["accuracy"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    assert [row["right"] for row in found] == [True, False] and found[0]["answer"] == said
    assert main(["evaluate", str(tmp_path), str(rows), "--task", "math", LONG, ONE]) == 0
    shown = capsys.readouterr().out
    assert "2 problems" in shown
    assert "* accuracy                          50.00%   95% interval 9.5% to 90.5%" in shown


def test_answers_from_a_text_are_scored_in_squads_and_in_a_plain_form(tmp_path):
    context = "Ann lives in Bonn. Bob lives in the old town of Rome."
    asked = f"{context}\n\nQuestion: Where does Bob live?\nAnswer:"
    make_reciter(tmp_path, asked, " the town of Rome\nQuestion:")
    question = {"question": "Where does Bob live?", "answers": [{"text": "old town of Rome"}]}
    squad = {"version": 1, "data": [{"paragraphs": [
        {"context": context, "qas": [{"id": "q1", **question}]}]}]}  # fmt: skip
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    plain = write_rows(tmp_path / "plain.jsonl",
                       {"context": context, "question": "Where does Bob live?",
                        "answers": {"text": ["old town of Rome"]}})  # fmt: skip
    for file in (tmp_path / "squad.json", plain):
        result, rows = evaluate(tmp_path, file, "qa")
        assert result["scores"] == {"exact_match": 0.0, "f1": pytest.approx(6 / 7)}
        assert rows[0]["answer"] == " the town of Rome"
        assert "normalization:squad" in result["signatures"]["qa"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_question_of_squad_2_that_its_text_does_not_answer_wants_nothing(tmp_path, name):
    text = {"context": "Ann lives in Bonn.", "question": "Where does Ann live?"}
    known = {**text, "answers": {"text": ["Bonn"], "answer_start": [13]}}
    unknown = {**text, "answers": {"text": [], "answer_start": []}}
    records = read_task([str(written(tmp_path, name, [known, unknown]))], Corpus())
    assert [reading.references for reading in read_all(records)] == [["Bonn"], [""]]


@pytest.fixture
def usual_limit():
    """The csv library as it starts, whatever was read before."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


def test_a_field_of_a_csv_may_be_a_chapter(tmp_path, usual_limit):
    chapter = "Ann lives in Bonn. " * 7_000
    (tmp_path / "qa.csv").write_text(f"context,question,answers\n{chapter},Where?,Bonn\n")
    (record,) = read_task([str(tmp_path / "qa.csv")], Corpus())
    (reading,) = read_all([record])
    assert record.fields["context"] == chapter and reading.references == ["Bonn"]


def test_a_quote_that_is_never_closed_is_told_in_one_line(tmp_path, usual_limit):
    (tmp_path / "qa.csv").write_text('context,question,answers\n"' + "Ann, lives\n" * 20_000)
    with pytest.raises(InputError, match=r"^'.*qa\.csv' has .*unexpected end of data.*$"):
        read_task([str(tmp_path / "qa.csv")], Corpus())


def test_a_field_of_a_csv_that_is_too_long_is_told_in_one_line(tmp_path, usual_limit, monkeypatch):
    for module in ("corpus.chat.read", "evaluation.tasks.records"):
        monkeypatch.setattr(f"xunlian.{module}.LIMITS", Limits(record=1_000))
    (tmp_path / "qa.csv").write_text(f"context,question,answers\n{'a' * 2_000},Where?,Bonn\n")
    with pytest.raises(InputError, match=r"^'.*qa\.csv' has .*longer than 1,000 characters.*$"):
        read_task([str(tmp_path / "qa.csv")], Corpus())


def test_chinese_answers_are_scored_by_characters(tmp_path):
    context, asked = "小明住在北京市海淀区。", "小明住在哪里？"
    make_reciter(tmp_path, f"{context}\n\n{asked}", "北京市", chat=True)
    rows = write_rows(tmp_path / "zh.jsonl",
                      {"context": context, "question": asked,
                       "answers": ["北京市海淀区"]})  # fmt: skip
    result, _ = evaluate(tmp_path, rows, "qa")
    assert result["scores"] == {"exact_match": 0.0, "f1": pytest.approx(2 / 3)}
    assert "normalization:cmrc2018" in result["signatures"]["qa"]


def test_an_answer_is_about_the_intent_whose_answers_are_like_it(tmp_path, capsys):
    known = write_rows(
        tmp_path / "known.jsonl",
        {"prompt": "open?", "completion": "We open at nine every day.", "intent": "hours"},
        {"prompt": "money?", "completion": "Your refund takes five days.", "intent": "refund"},
    )
    asked = "Where is my money?"
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": "We shall send the refund."}]  # fmt: skip
    rows = write_rows(tmp_path / "rows.jsonl",
                      {"prompt": asked, "completion": "The refund is coming.", "intent": "refund"},
                      {"messages": talk, "intent": "refund"})  # fmt: skip
    make_reciter(tmp_path, asked, "A refund takes some days.", chat=True)
    result, found = evaluate(tmp_path, rows, "intent", examples=known)
    assert found[0]["found"] == "refund" and found[0]["answer"] == "A refund takes some days."
    assert found[1]["messages"] == talk[:3] and found[1]["reference"] == talk[3]["content"]
    assert result["scores"]["accuracy"] == sum(row["right"] for row in found) / 2
    assert result["baselines"] == {"references": 1.0, "most_frequent": 1.0}
    words = ["evaluate", str(tmp_path), "--data", str(rows), LONG, ONE, "--task", "intent"]
    assert main([*words, "--examples", str(known)]) == 0
    assert "the reference answers" in capsys.readouterr().out


def test_choices_are_scored(tmp_path):
    make_model(tmp_path)
    row = {"question": "?", "choices": ["a", "b"], "answer": "b"}
    result, found = evaluate(tmp_path, write_rows(tmp_path / "rows.jsonl", row, row), "choice")
    assert result["items"] == 2 and result["baselines"] == {"chance": 0.5}
    best = found[0]["log_likelihoods"]
    assert result["scores"]["accuracy"] == float(best[1] > best[0])


@pytest.mark.parametrize("part", ["made", "dev/anatomy_dev.csv", "val/college_biology_val.csv"])
def test_choices_may_come_in_mmlus_form_without_a_header(tmp_path, part):
    text = 'Which?,"one, two",a,"a ""b""",c,D\n"W\nhat?",1,2,2,4,A\n'
    if part != "made":
        with tarfile.open(shared_data("education/mmlu/dev_val.tar.gz")) as archive:
            text = archive.extractfile(part).read().decode()
    (tmp_path / "m.csv").write_text(text, "utf-8")
    read = [read_choice(record) for record in read_task([str(tmp_path / "m.csv")], Corpus())]
    for choice, row in zip(read, csv.reader(io.StringIO(text)), strict=True):
        asked, *choices, letter = (field.strip() for field in row)
        assert choice.question.messages[0]["content"] == asked and choice.choices == choices
        assert "ABCD"[choice.right] == letter


MATH = {"question": "2?", "answer": "2"}
QA = {"context": "c", "question": "q", "answers": ["a"]}
TALK = {"prompt": "p", "completion": "c", "intent": "i"}


@pytest.mark.parametrize(
    ("row", "task", "options", "words"),
    [
        (MATH, "maths", {}, "There is no task 'maths'. Did you mean 'math'?"),
        (MATH, "math", {"metrics": "perplexity"}, "--metrics, --stride and --bootstrap are not"),
        (MATH, "math", {"samples": 2}, "--samples is for --task code only"),
        (MATH, "math", {"timeout": 2}, "--timeout is for --task code only"),
        (MATH, "math", {"shots": 2}, "Which are the 2 examples to show? Name a file by --examples"),
        (MATH, "math", {"shots": 2, "examples": "rows"}, "has 1 examples, and --shots asks for 2"),
        (MATH, "math", {"examples": "rows"}, "Say with --shots how many of the --examples"),
        (MATH, "math", {"shots": 1, "examples": "no.jsonl"}, "No file or folder 'no.jsonl'"),
        (MATH, None, {"shots": 1}, "--shots is for a --task: code, math"),
        ({"question": "2?"}, "math", {}, "record 1 has no field answer, golden, solution"),
        ({"answer": "2"}, "math", {}, "record 1 has no field question, input, problem"),
        ({"question": "2?", "answer": "no"}, "math", {}, "the answer 'no' has no number"),
        ({"question": ["2?"], "answer": "2"}, "math", {}, "the field question is no text"),
        (ADD, "code", {"samples": 0}, "--samples 0 is not possible"),
        (ADD, "code", {"samples": 2, "pass_at": [3]}, "pass@3 cannot be told from 2 samples"),
        (ADD, "code", {"pass_at": [0]}, "pass@0 means nothing"),
        (ADD, "code", {"timeout": 0}, "--timeout 0 is not possible"),
        (ADD | {"test": ""}, "code", {}, "record 1: there is no test"),
        ({"test": "assert 1"}, "code", {}, "record 1 has no field prompt, text or question"),
        (QA | {"answers": []}, "qa", {}, "has no field answers or answer"),
        (QA | {"answers": [{"a": 1}]}, "qa", {}, "its answers are no texts"),
        ({"question": "q", "answers": ["a"]}, "qa", {}, "has no field context or passage"),
        ({"context": "c", "qas": []}, "qa", {}, "there is no question in it"),
        ({"paragraphs": [{"context": "c"}]}, "qa", {}, "has no list 'qas' of questions"),
        (TALK, "intent", {}, "Name a file of them with --examples"),
        ({"prompt": "p", "completion": "c"}, "intent", {"examples": "rows"}, "no field intent"),
        ({"intent": "i", "x": 1}, "intent", {"examples": "rows"}, "no conversation is recognized"),
        (TALK | {"prompt": ""}, "intent", {"examples": "rows"}, "turn 1, of user, is empty"),
        (TALK, "intent", {"examples": "other"}, "no row of the examples has its intent, 'i'"),
        ({"question": "q", "answer": "A"}, "choice", {}, "it has no choices"),
        ({}, "math", {}, "has no field question, input, problem, prompt or instruction; it has no"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line_and_nothing_is_left(
    tmp_path, row, task, options, words
):
    model = make_model(tmp_path / "model")
    rows = write_rows(tmp_path / "rows.jsonl", row)
    other = write_rows(tmp_path / "other.jsonl", {**TALK, "intent": "j"})
    files = {"rows": str(rows), "other": str(other)}
    if "examples" in options:
        options = options | {"examples": files.get(options["examples"], options["examples"])}
    with pytest.raises(InputError) as caught:
        xunlian.evaluate(model, rows, task=task, output=tmp_path / "out.jsonl", **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n\n", "There is nothing in"),
        ("[1]\n", "record 1, is no object with fields"),
        ('{"question": 1\n', "line 1"),
    ],
)
def test_a_file_without_problems_is_refused(tmp_path, text, words):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        xunlian.evaluate(make_model(tmp_path), tmp_path / "rows.jsonl", task="math")


def test_several_samples_need_a_temperature(tmp_path):
    rows = write_rows(tmp_path / "p.jsonl", ADD)
    with pytest.raises(InputError, match="At temperature 0 all 2 samples are the same"):
        xunlian.evaluate(make_model(tmp_path), rows, ["decoding.temperature=0"], task="code",
                         samples=2)  # fmt: skip


def test_the_command_ends_with_status_2_and_one_line(tmp_path, capsys):
    make_model(tmp_path)
    capsys.readouterr()
    for words in (
        ["--task", "math"],
        ["no.jsonl", "--task", "math"],
        ["--shots", "3"],
        ["--task", "code", "--pass-at", "x"],
    ):
        assert main(["evaluate", str(tmp_path), *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("xunlian evaluate: ") and error.count("\n") == 1


def test_models_that_turn_a_source_into_a_target_do_no_tasks(tmp_path):
    rows = write_rows(tmp_path / "m.jsonl", MATH)
    with pytest.raises(InputError, match="turns a source into a target, and tasks are for models"):
        xunlian.evaluate(make_translator(tmp_path / "model", "abc"), rows, task="math")


def test_recurrent_models_do_tasks_as_others_do(tmp_path):
    folder = tmp_path / "model"
    tokenizer = byte_tokenizer()
    model = RecurrentModel(RecurrentConfig("gru", tokenizer.vocab_size, 1, 16, 16, True))
    write_config(folder, model.config, tokenizer.end_id)
    write_weights(folder / "model.safetensors", model)
    tokenizer.save(folder)
    rows = write_rows(tmp_path / "m.jsonl", MATH)
    assert xunlian.evaluate(folder, rows, ["decoding.max_tokens=4"], task="math")["items"] == 1
    named = write_rows(tmp_path / "c.jsonl", {"question": "?", "choices": ["a", "b"], "answer": 0})
    assert xunlian.evaluate(folder, named, task="choice")["items"] == 1
