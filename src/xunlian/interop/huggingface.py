"""Hugging Face model folders: written so that Transformers opens them, and opened.

    config.json  generation_config.json  model.safetensors (or several, with an index)

Transformers computes the same logits from what is written here, and the other way round, to fp32
rounding. Pickled weights are refused: opening them can run any code.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xunlian.errors import InputError
from xunlian.files import atomic_path, read_json, write_json
from xunlian.interop.config import Config
from xunlian.interop.from_fields import from_fields
from xunlian.interop.names import (
    COMPUTED,
    HEAD_BIAS,
    TIED,
    constants,
    entries,
    from_theirs,
    their_shape,
    to_theirs,
)
from xunlian.interop.tensors import write_tensors
from xunlian.interop.to_fields import to_fields
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.recurrent import RecurrentConfig, RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.models.speedrun import Speedrun

Model = Decoder | EncoderDecoder | RecurrentModel | RecurrentPairModel

CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


def write_config(
    folder: Path,
    config: Config,
    end_id: int | None,
    start_id: int | None = None,
    before_id: int | None = None,
    turn_end_id: int | None = None,
    pad_id: int | None = None,
    forced_id: int | None = None,
) -> None:
    """Write config.json and generation_config.json.

    `end_id` is the token that ends a document, `start_id` the one from which an encoder-decoder's
    targets start, `pad_id` the one that fills, by default `start_id`, `forced_id` the one that all
    targets begin with, such as that of their language, `before_id` the one before a text, by
    default `end_id`, `turn_end_id` one that ends an answer, too.
    """
    fields = to_fields(config, end_id, start_id, before_id, pad_id)
    ends: int | list[int] | None = end_id
    if end_id is not None and turn_end_id not in (None, end_id):
        ends = [turn_end_id, end_id]
    generation: dict[str, Any] = {"eos_token_id": ends, "pad_token_id": end_id}
    if fields.get("is_encoder_decoder"):
        # Without a length Transformers stops at 20 tokens.
        generation |= {
            "pad_token_id": fields["pad_token_id"],
            "decoder_start_token_id": start_id,
            "max_length": config.context,
        }
        if forced_id is not None:
            generation["forced_bos_token_id"] = forced_id
    else:
        generation |= {"bos_token_id": fields["bos_token_id"]}
    write_json(folder / CONFIG_FILE, fields)
    write_json(folder / GENERATION_FILE, generation)


def write_weights(file: Path, model: Model) -> None:
    """Write the weights in fp32 under Transformers' names; `file` is replaced only when whole."""
    weights = model.state_dict()
    tensors = {entry.theirs: to_theirs(entry, weights) for entry in entries(model.config)}
    tensors |= constants(model.config)
    with atomic_path(file) as out:
        write_tensors(out, tensors, {"format": "pt"})


def read_config(folder: Path) -> Config:
    """The configuration of a model folder.

    Raises:
        InputError: config.json is missing or damaged, or describes a model we do not have.
    """
    file = folder / CONFIG_FILE
    config = from_fields(read_json(file), file)
    if isinstance(config, EncoderDecoderConfig) and config.architecture != "m2m_100":
        return replace(config, head_bias=config.head_bias or _has_head_bias(folder))
    return config


def _has_head_bias(folder: Path) -> bool:
    """Whether the weights say so: config.json does not."""
    if not (folder / WEIGHTS_FILE).is_file() and not (folder / INDEX_FILE).is_file():
        return False
    with _open_tensors(folder) as tensors:
        return HEAD_BIAS in tensors and bool(tensors.read(HEAD_BIAS).any())


def read_end_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that end a text, as the folder's files name them; often one, maybe none."""
    for name in (GENERATION_FILE, CONFIG_FILE):
        if (folder / name).is_file():
            fields = read_json(folder / name)
            found = fields.get("eos_token_id") if isinstance(fields, dict) else None
            ids = found if isinstance(found, list) else [found]
            if ids := [i for i in ids if isinstance(i, int)]:
                return tuple(ids)
    return ()


@torch.no_grad()
def load_model(folder: Path, *, context: int | None = None, dropout: float = 0.0) -> Model:
    """The model of a folder written here or by Transformers, in fp32, ready for evaluation.

    Args:
        folder: the model folder.
        context: tokens that the model shall read, where positions are not learned; by default as
            many as config.json says.
        dropout: rate while it is trained on.

    Raises:
        InputError: a file is missing, damaged or does not fit config.json, or the weights are
            pickled.
    """
    config = read_config(folder)
    if context is not None:
        config = replace(config, context=context)
    try:
        with torch.random.fork_rng(devices=[]):  # its first, random weights are all replaced
            model = build(config, dropout)
    except RuntimeError as error:  # an allocation that fails
        raise InputError(
            f"There is not enough memory for '{folder}' with the sizes in its config.json "
            f"({str(error).splitlines()[0]})."
        ) from error
    weights = model.state_dict()
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    with _open_tensors(folder) as tensors:
        for entry in entries(config):
            wanted = their_shape(entry, shapes)
            if entry.theirs not in tensors:
                raise InputError(
                    f"'{folder}' lacks the tensor {entry.theirs} that its config.json "
                    "asks for. The files do not belong together; copy them again."
                )
            tensor = tensors.read(entry.theirs)
            if tuple(tensor.shape) != wanted:
                raise InputError(
                    f"In '{folder}', {entry.theirs} has shape {tuple(tensor.shape)} but "
                    f"config.json asks for {wanted}. The files do not belong together; copy them "
                    "again."
                )
            for name, ours in from_theirs(entry, tensor, shapes).items():
                weights[name].copy_(ours)  # at once, so that nothing is in memory twice
        known = {entry.theirs for entry in entries(config)} | TIED
        extra = [n for n in tensors.names if n not in known and not n.endswith(COMPUTED)]
        if extra:
            raise InputError(
                f"'{folder}' holds the tensor {extra[0]}, which its config.json knows "
                "nothing of. The files do not belong together; copy them again."
            )
    return model.eval()


def build(config: Config, dropout: float = 0.0) -> Model:
    """The network of a configuration, its weights not yet drawn."""
    if isinstance(config, EncoderDecoderConfig):
        return EncoderDecoder(config, dropout)
    if isinstance(config, RecurrentConfig):
        kind = RecurrentModel if config.decoder_depth is None else RecurrentPairModel
        return kind(config, dropout)
    return (Speedrun if config.architecture == "speedrun" else Decoder)(config, dropout)


class _Tensors:
    """The tensors of one or several open safetensors files, read one at a time."""

    def __init__(self, files: dict[Path, "safe_open"]):
        found = [(name, file) for file, opened in files.items() for name in list(opened.keys())]
        bare = {"wte.weight": "transformer.", "shared.weight": "model."}
        # Some folders of GPT-2 and BART name the inner model's tensors without its own name.
        inner = next((bare[name] for name, _ in found if name in bare), "")
        self._places = {
            name if name in ("lm_head.weight", HEAD_BIAS) else f"{inner}{name}": (file, name)
            for name, file in found
        }
        self._files = files
        self.names = list(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def read(self, name: str) -> Tensor:
        file, inner = self._places[name]
        tensor: Tensor = self._files[file].get_tensor(inner)
        return tensor


@contextmanager
def _open_tensors(folder: Path) -> Iterator[_Tensors]:
    with ExitStack() as stack:
        opened = {}
        for file in _weight_files(folder):
            try:
                opened[file] = stack.enter_context(safe_open(file, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise InputError(
                    f"'{file}' is damaged or no safetensors file ({error}). Copy it "
                    "again, or take the weights of a checkpoint."
                ) from error
        yield _Tensors(opened)


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / WEIGHTS_FILE, folder / INDEX_FILE
    if single.is_file():
        return [single]
    if index.is_file():
        places = read_json(index)
        places = places.get("weight_map") if isinstance(places, dict) else None
        if not isinstance(places, dict) or not places:
            raise InputError(f"'{index}' is damaged: it has no weight_map.")
        files = [folder / name for name in sorted(set(map(str, places.values())))]
        for file in files:
            if not file.is_file() or file.parent.resolve() != folder.resolve():
                raise InputError(f"'{file}' is missing, but '{index.name}' names it. Copy it too.")
        return files
    pickled = [
        p.name
        for pattern in ("pytorch_model*.bin", "*.pt", "*.pth")
        for p in sorted(folder.glob(pattern))
    ]
    if pickled:
        raise InputError(
            f"'{folder}' has only pickled weights ({pickled[0]}), which can run any code when "
            "opened. Save it as safetensors first: "
            "AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)."
        )
    raise InputError(f"'{folder}' has no weights: '{WEIGHTS_FILE}' is missing.")
