"""Recipes: files, overrides, round trip, and what is refused."""

import tomllib

import pytest

from xunlian.errors import InputError
from xunlian.recipe.load import fields, load_recipe, shipped_recipes, to_toml
from xunlian.recipe.settings import Recipe


def test_every_field_is_documented():
    for name, field in fields().items():
        assert field.description and field.description.endswith("."), name


def test_overrides_win_over_the_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[training]\nseed = 3\nbudget = "10 steps"\n')
    recipe = load_recipe(file, ["training.seed=4", "model.size=2m", "corpus.val=0.1"])
    assert recipe.training.seed == 4
    assert recipe.training.budget == "10 steps"
    assert recipe.model.size == "2m"
    assert recipe.corpus.val == ("0.1",)


def test_a_size_that_is_asked_for_replaces_the_shape_of_the_recipe(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[model]\ndepth = 4\nwidth = 128\nheads = 4\nmlp_width = 512\ncontext = 64\n")

    def shape(recipe, *overrides):
        model = load_recipe(recipe, overrides).model
        return model.depth, model.width, model.heads, model.mlp_width

    for recipe in (file, load_recipe(file)):
        assert shape(recipe) == shape(recipe, "model.context=32") == (4, 128, 4, 512)
        assert shape(recipe, "model.size=2m") == (None, None, None, None)
        # What is asked for beside it stays.
        assert shape(recipe, "model.heads=2", "model.size=2m") == (None, None, 2, None)
    assert load_recipe(file, ["model.size=2m"]).model.context == 64


def test_a_model_to_start_from_lends_its_tokenizer_unless_one_is_named(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[model]\ninit_from = "runs/base"\n[tokenizer]\nsample_bytes = 5000\n')
    assert load_recipe(file).tokenizer.kind == "runs/base"
    assert load_recipe(file).tokenizer.sample_bytes == 5000
    assert load_recipe(file, ["model.init_from=hf:a/b"]).tokenizer.kind == "hf:a/b"
    assert load_recipe(file, ["tokenizer.kind=char"]).tokenizer.kind == "char"
    assert load_recipe(Recipe()).tokenizer.kind == "bpe"


def test_a_single_source_may_be_given_as_text():
    assert load_recipe(Recipe(), ["corpus.sources=a.txt"]).corpus.sources == ("a.txt",)
    assert load_recipe(Recipe(), ['corpus.sources=["a.txt", "b.txt"]']).corpus.sources == (
        "a.txt",
        "b.txt",
    )


def test_toml_round_trip_keeps_every_value():
    recipe = load_recipe(
        Recipe(),
        [
            "model.size=10m",
            'about="三国 \\"quoted\\""',
            'prompts=["床前明月光", "a\\nb"]',
            "training.betas=[0.8, 0.9]",
        ],
    )
    assert Recipe.model_validate(tomllib.loads(to_toml(recipe))) == recipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid(name):
    assert load_recipe(name).about


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainng.budget=5min", ["trainng.budget", "training.budget"]),
        ("training.buget=5min", ["training.buget", "training.budget"]),
        ("budget=5min", ["training.budget"]),
        ("training.seed=many", ["training.seed", "many"]),
        ("training.budget=5 parsecs", ["parsecs", "5min"]),
        ("model.size=huge", ["huge", "10m"]),
        ("model.dropout=1.5", ["model.dropout", "1.5"]),
        ("training.precision=fp4", ["training.precision", "fp4", "bf16"]),
        ("nonsense", ["nonsense", "key=value"]),
    ],
)
def test_a_wrong_override_is_refused_by_name(override, words):
    with pytest.raises(InputError) as caught:
        load_recipe(Recipe(), [override])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_key_in_a_file_is_refused_with_the_nearest(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[model]\ndeph = 4\n")
    with pytest.raises(InputError, match=r"model\.deph.*model\.depth"):
        load_recipe(file)


def test_a_broken_file_is_named(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[model\n")
    with pytest.raises(InputError, match=r"mine\.toml.*TOML"):
        load_recipe(file)


def test_an_unknown_recipe_gets_the_nearest_shipped_name():
    with pytest.raises(InputError, match="demo-en"):
        load_recipe("demo-eng")


def test_validation_is_a_fraction_or_one_or_more_files():
    for given in (0.1, "0.1", ["0.1"], (0.1,)):
        assert Recipe.model_validate({"corpus": {"val": given}}).corpus.val == ("0.1",)
    override = 'corpus.val=["val.en", "val.de"]'
    assert load_recipe(Recipe(), [override]).corpus.val == ("val.en", "val.de")
    assert load_recipe(Recipe(), ["corpus.val=val.txt"]).corpus.val == ("val.txt",)
    assert load_recipe(Recipe(), ["corpus.source_field=2"]).corpus.source_field == "2"
    with pytest.raises(InputError, match=r"corpus\.val"):
        load_recipe(Recipe(), ["corpus.val=[]"])
