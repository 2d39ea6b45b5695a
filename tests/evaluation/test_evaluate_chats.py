"""What is told of conversations beside their scores: how much text the answers are."""

from made_judge import make_judge
from made_reciting import write_rows

import xunlian


def test_the_words_of_several_answers_are_counted_one_by_one(tmp_path):
    answers = ["Yes.", "No way.", "Maybe so."]
    talk = [
        {"role": role, "content": text}
        for answer in answers
        for role, text in (("user", "Really?"), ("assistant", answer))
    ]
    rows = write_rows(tmp_path / "talk.jsonl", {"messages": talk})
    folder = make_judge(tmp_path / "model", attributes=())
    found = xunlian.evaluate(folder, rows, ["training.precision=fp32", "task=chat"])
    assert (found["documents"], found["words"]) == (1, 5)
    assert found["bytes"] == found["characters"] == len("".join(answers))
