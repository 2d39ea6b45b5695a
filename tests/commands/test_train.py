from pathlib import Path

import pytest

from xunlian.cli import main
from xunlian.errors import InputError
from xunlian.recipe.load import load_recipe
from xunlian.recipe.resolve import check_settings


@pytest.mark.parametrize(
    "setting", ["model.head_width=33", "training.batch_tokens=100", "training.neftune_alpha=5"]
)
def test_settings_that_cannot_be_are_refused_before_any_text_is_prepared(
    setting: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(["train", "demo-en", setting])
    error = capsys.readouterr().err.strip()
    assert status == 2 and len(error.splitlines()) == 1, error
    assert not list(tmp_path.iterdir())


def test_whole_answers_have_no_teacher() -> None:
    recipe = load_recipe("align-en", ["distill.teacher=runs/big"])
    with pytest.raises(InputError, match="Leave \\[distill\\] out"):
        check_settings(recipe)
