"""What a training starts from when not from random weights (model.init_from): a run, or a folder.

The folder says what the network is, so a recipe need not repeat its shape, and may not contradict
it; and what no recipe has words for (scaled rotary angles, the epsilon of norms) comes from there
too. The corpus must have its tokenizer. Tokens may have been added to it, as a chat template does.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xunlian.errors import InputError
from xunlian.interop.adapters import is_adapter
from xunlian.interop.config import Config
from xunlian.interop.huggingface import Model, build, read_config
from xunlian.models.decoder import DecoderConfig
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.recurrent import RecurrentConfig
from xunlian.models.vocabulary import add_tokens
from xunlian.recipe.settings import PAIR_TASKS, Recipe
from xunlian.recipe.settings import Model as ModelSettings
from xunlian.runs.load import load_folder, load_weights
from xunlian.shards.corpus import Corpus
from xunlian.tokenizer.framing import is_framed, languages_of, read_start_id
from xunlian.tokenizer.sides import load_sides
from xunlian.tokenizer.tokenizer import Tokenizer, extends

# Of these a longer context is not to be had: positions are learned, or attention reaches no further
# back.
_FIXED_CONTEXT = ("gpt2", "mistral", "bart", "mbart")


@dataclass(frozen=True)
class Initial:
    """Where a training starts.

    Attributes:
        source: as the recipe names it.
        folder: the model folder.
        config: of the network that is trained: the folder's, with room for the corpus's tokens and
            for the recipe's context.
        known: tokens that the folder's tokenizer has, and its network a row for.
        wanted: tokens that the corpus's has.
    """

    source: str
    folder: Path
    config: Config
    known: int
    wanted: int

    def load(self, dropout: float, seed: int) -> Model:
        """The network with the folder's weights; those of new tokens are made from `seed`.

        Raises:
            InputError: the weights are missing, damaged, or do not fit the folder's config.json.
        """
        model = load_weights(self.folder, context=self.config.context, dropout=dropout)
        if self.wanted <= self.known and model.config.vocab_size == self.config.vocab_size:
            return model.train()
        with_room = add_tokens(
            model.state_dict(),
            known=self.known,
            wanted=self.wanted,
            size=self.config.vocab_size,
            seed=seed,
        )
        model = build(self.config, dropout)
        model.load_state_dict(with_room)
        return model


def start_from(recipe: Recipe, corpus: Corpus) -> tuple[Recipe, Initial | None]:
    """The recipe with the shape of the folder that it starts from, and that folder, if it has one.

    Raises:
        InputError: there is no such run or folder, the recipe contradicts it, or the corpus has
            another tokenizer.
    """
    source = recipe.model.init_from
    if not source:
        return recipe, None
    folder = load_folder(source)
    if recipe.adapter and is_adapter(folder):
        raise InputError(
            f"'{source}' is an adapter itself. Merge it with its base first: "
            f"xunlian merge {source} --out FOLDER, and start from FOLDER."
        )
    theirs = read_config(folder)
    recipe = recipe.model_copy(update={"model": with_shape(recipe.model, theirs, recipe.task)})
    tokenizers, ours = load_sides(folder), load_sides(corpus.path)
    if not (extends(ours.source, tokenizers.source) and extends(ours.target, tokenizers.target)):
        raise InputError(
            f"'{source}' has another tokenizer than the corpus '{corpus.path}'. "
            f"Prepare the corpus with --tokenizer {folder}."
        )
    known = min(tokenizers.vocab_size, theirs.vocab_size)
    if recipe.adapter and corpus.vocab_size > known:
        raise InputError(
            f"The corpus '{corpus.path}' has {corpus.vocab_size - known} tokens "
            f"that '{source}' lacks, and an adapter leaves embeddings as they are. Leave [adapter] "
            "out to train all of it, or prepare the corpus with a template of known tokens."
        )
    if recipe.task in PAIR_TASKS:
        _check_start(source, folder, tokenizers.source, corpus)
    config = replace(
        theirs,
        vocab_size=max(theirs.vocab_size, corpus.vocab_size),
        context=max(theirs.context, recipe.model.context),
    )
    return recipe, Initial(source, folder, config, known, corpus.vocab_size)


def _check_start(source: str, folder: Path, tokenizer: Tokenizer, corpus: Corpus) -> None:
    """Raises InputError: the corpus's targets start from another token than the folder's."""
    start_id, languages = read_start_id(folder), languages_of(tokenizer).values()
    if start_id in (None, corpus.start_id) or {start_id, corpus.start_id} <= set(languages):
        return
    mend = (
        f"Prepare the corpus again with --tokenizer {folder}."
        if is_framed(tokenizer, folder)
        else "Name that token as pad_token in the tokenizer_config.json and prepare the corpus "
        "again."
    )
    raise InputError(
        f"In '{source}', targets start with token {start_id} (decoder_start_token_id), but in the "
        f"corpus '{corpus.path}' with {corpus.start_id}. {mend}"
    )


def shape_from_folder(recipe: Recipe) -> Recipe:
    """The recipe with the shape of the folder that it starts from, if it starts from one.

    Raises:
        InputError: there is no such run or folder, or the recipe contradicts it.
    """
    if not recipe.model.init_from:
        return recipe
    config = read_config(load_folder(recipe.model.init_from))
    model = with_shape(recipe.model, config, recipe.task)
    return recipe.model_copy(update={"model": model})


def with_shape(model: ModelSettings, config: Config, task: str) -> ModelSettings:
    """The table [model] with all that `config` says.

    Raises:
        InputError: the table says something else, or the task is not for such a network.
    """
    pairs = not isinstance(config, DecoderConfig) and (
        isinstance(config, EncoderDecoderConfig) or config.decoder_depth is not None
    )
    if pairs != (task in PAIR_TASKS):
        raise InputError(
            f"'{model.init_from}' "
            + (
                "turns a source into a target: train it on pairs, with task=translation or "
                "task=summarization."
                if pairs
                else "is a language model: train it on text, with task=language-model."
            )
        )
    shape = _shape(config)
    for name, value in shape.items():
        given = getattr(model, name) if name in model.model_fields_set else None
        if given not in (None, value):
            raise InputError(
                f"'{model.init_from}' has {name} = {value}, the recipe {given}. Leave model.{name} "
                "out: the shape comes from there."
            )
    context = model.context
    if "context" not in model.model_fields_set:
        context = min(context, config.context)
    architecture = shape.get("architecture")
    if context > config.context and architecture in _FIXED_CONTEXT:
        raise InputError(
            f"'{model.init_from}' reads at most {config.context} tokens, the recipe asks for "
            f"{context}. Set model.context={config.context} or less."
        )
    return model.model_copy(update={**shape, "context": context, "size": None})


def _shape(config: Config) -> dict[str, Any]:
    """The fields of the table [model] that a configuration fixes."""
    if isinstance(config, RecurrentConfig):
        return {
            "family": config.family,
            **_named(config, "depth", "width", "tied", "decoder_depth"),
        }
    fields = {
        "family": "transformer",
        **_named(config, "architecture", "depth", "width", "heads", "head_width", "mlp_width"),
    }
    if isinstance(config, DecoderConfig):
        return fields | _named(config, "kv_heads", "tied", "rope_theta")
    return fields | {"kv_heads": config.heads, "tied": True, **_named(config, "decoder_depth")}


def _named(config: Config, *names: str) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names}
