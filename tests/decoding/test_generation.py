"""The loop against Transformers' generate and against the slow way, one row and token at a time."""

from dataclasses import replace

import pytest
import torch
from made_decoder import CONFIGS, PORTABLE, randomized, reciting

from xunlian.decoding.engine import Engine
from xunlian.decoding.generate import ROWS, generate_texts, generate_tokens
from xunlian.errors import XunlianError
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.recipe.settings import Decoding
from xunlian.tokenizer.train import train_tokenizer

END = 60
LENGTHS = [5, 1, 11, 5, 24]
GREEDY = Decoding(temperature=0, max_tokens=12)
SAMPLED = Decoding(temperature=1.0, top_p=0.9, max_tokens=12, seed=5)


def some_prompts(lengths=LENGTHS, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(END, (length,), generator=generator).tolist() for length in lengths]


def continuations(engine, prompts, decoding, end_ids=()):
    """The new tokens of each prompt, up to an end token."""
    found, ended = [[] for _ in prompts], set()
    for number, token in generate_tokens(engine, prompts, decoding, ended):
        found[number].append(token)
        if token in end_ids:
            ended.add(number)
    return found


@torch.no_grad()
def slow_greedy(model, prompt, count):
    """No cache, no batch: a window that keeps its last half whenever it is full."""
    context, window, found = model.config.context, prompt[-model.config.context :], []
    for _ in range(count):
        token = model.logits(torch.tensor([window]))[0, -1].argmax().item()
        found.append(token)
        if len(window) == context:
            window = window[-(context // 2) :]
        window = [*window, token]
    return found


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("name", PORTABLE)
def test_greedy_is_that_of_transformers(name, penalty, tmp_path):
    transformers = pytest.importorskip("transformers")
    # Untied: a tied random head says few different tokens.
    model = randomized(replace(CONFIGS[name], context=64, tied=False))
    write_config(tmp_path, model.config, END)
    write_weights(tmp_path / "model.safetensors", model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    prompts = some_prompts()
    settings = Decoding(temperature=0, max_tokens=40, repetition_penalty=penalty)
    found = continuations(Engine(model, "fp32"), prompts, settings, {END})
    for prompt, tokens in zip(prompts, found, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=40,
            do_sample=False,
            repetition_penalty=penalty,
        )
        assert tokens == expected[0, len(prompt) :].tolist()
    assert len({token for tokens in found for token in tokens}) > 20


@pytest.mark.parametrize("count", [1, 12, 70])
@pytest.mark.parametrize("context", [24, 9])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_text_goes_on_past_the_context_by_its_last_half(name, context, count):
    model = randomized(replace(CONFIGS[name], context=context))
    prompts = some_prompts([*LENGTHS, 40])  # the last is itself longer than any context
    found = continuations(Engine(model, "fp32"), prompts, Decoding(temperature=0, max_tokens=count))
    for prompt, tokens in zip(prompts, found, strict=True):
        assert tokens == slow_greedy(model, prompt, count)


def test_rows_that_end_leave_the_others_as_they_are():
    model = randomized(replace(CONFIGS["qwen3 grouped"], context=16))
    prompts, count = some_prompts([1 + n % 13 for n in range(12)]), 40
    whole = [slow_greedy(model, prompt, count) for prompt in prompts]
    ends = {tokens[3] for tokens in whole[:3]} | {tokens[20] for tokens in whole[3:6]}
    found = continuations(
        Engine(model, "fp32"), prompts, Decoding(temperature=0, max_tokens=count), ends
    )
    lengths = set()
    for tokens, expected in zip(found, whole, strict=True):
        end = next((n + 1 for n, token in enumerate(expected) if token in ends), count)
        assert tokens == expected[:end]
        lengths.add(end)
    assert len(lengths) > 3


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_does_not_depend_on_its_neighbours(name, decoding):
    engine = Engine(randomized(CONFIGS[name]), "fp32")
    settings = decoding.model_copy(update={"max_tokens": 40})  # past the context too
    prompts = some_prompts([1 + n % 24 for n in range(ROWS + 8)])  # more than one batch
    together = continuations(engine, prompts, settings)
    assert all(len(tokens) == 40 for tokens in together)
    for number in (0, 1, 7, 23, ROWS, ROWS + 7):
        assert continuations(engine, [prompts[number]], settings) == [together[number]]
    assert continuations(engine, prompts[::-1], settings)[::-1] == together


def test_rows_that_end_leave_the_draws_of_the_others_as_they_are():
    engine = Engine(randomized(CONFIGS["qwen3"]), "fp32")
    prompts = some_prompts([1 + n % 13 for n in range(12)])
    settings = SAMPLED.model_copy(update={"max_tokens": 40, "repetition_penalty": 1.2})
    ends = {1, 2, 3, 4, 5}
    together = continuations(engine, prompts, settings, ends)
    assert len({len(tokens) for tokens in together}) > 5
    for prompt, tokens in zip(prompts, together, strict=True):
        assert continuations(engine, [prompt], settings, ends) == [tokens]


def test_a_seed_repeats_and_another_one_differs():
    engine, prompts = Engine(randomized(CONFIGS["qwen3"]), "fp32"), some_prompts()
    first = continuations(engine, prompts, SAMPLED)
    torch.manual_seed(99)  # no matter
    assert continuations(engine, prompts, SAMPLED) == first
    assert continuations(engine, prompts, SAMPLED.model_copy(update={"seed": 6})) != first
    unseeded = SAMPLED.model_copy(update={"seed": None})
    assert continuations(engine, prompts, unseeded) != continuations(engine, prompts, unseeded)


def test_the_same_prompt_twice_is_continued_in_two_ways():
    engine, (prompt, *_) = Engine(randomized(CONFIGS["qwen3"]), "fp32"), some_prompts()
    first, second = continuations(engine, [prompt, prompt], SAMPLED)
    assert first != second
    assert continuations(engine, [prompt], SAMPLED) == [first]
    greedy = continuations(engine, [prompt, prompt], GREEDY)
    assert greedy[0] == greedy[1]


def test_more_tokens_only_make_a_text_longer():
    engine, prompts = Engine(randomized(CONFIGS["gpt2"]), "fp32"), some_prompts()
    short = continuations(engine, prompts, SAMPLED)
    long = continuations(engine, prompts, SAMPLED.model_copy(update={"max_tokens": 30}))
    assert [tokens[:12] for tokens in long] == short


def test_an_unlimited_number_of_tokens_costs_no_memory():
    model = reciting([3, 4, END], 61)
    for temperature in (0.0, 0.01):
        decoding = Decoding(temperature=temperature, max_tokens=10**13, seed=1)
        assert continuations(Engine(model, "fp32"), [[0]], decoding, {END}) == [[3, 4, END]]


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED])
def test_a_model_of_no_numbers_is_said_to_be_one(decoding):
    model = randomized(CONFIGS["qwen3"])
    with torch.no_grad():
        model.norm.weight.fill_(float("nan"))
    with pytest.raises(XunlianError, match="not numbers"):
        continuations(Engine(model, "fp32"), some_prompts(), decoding)


def test_sampling_at_temperature_one_follows_the_models_distribution():
    """3,000 first tokens after one prompt, against softmax of the uncached logits."""
    model, (prompt, *_) = randomized(CONFIGS["qwen3"]), some_prompts([3])
    decoding = Decoding(temperature=1.0, top_p=1.0, max_tokens=1, seed=1)
    found = continuations(Engine(model, "fp32"), [prompt] * 3000, decoding)
    counts = torch.bincount(torch.tensor(found).flatten(), minlength=61)
    with torch.no_grad():
        expected = 3000 * model.logits(torch.tensor([prompt]))[0, -1].softmax(-1)
    frequent = expected > 5
    assert frequent.sum() > 20
    chi_square = ((counts - expected)[frequent] ** 2 / expected[frequent]).sum().item()
    freedom = frequent.sum().item()
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5  # about four standard deviations


# Text: a model that recites, with the byte tokenizer, so that every character is several tokens.

TALE = "从前🙂 a fox. 完"


@pytest.fixture(scope="module")
def byte():
    return train_tokenizer(iter([]), "byte", 257)


@pytest.fixture(scope="module")
def reciter(byte):
    ids = [*byte.encode(TALE), byte.end_id]
    return Engine(reciting(ids, byte.vocab_size), "fp32")


def recited(engine, tokenizer, **settings):
    """The pieces of a continuation, and its stream when it ended."""
    decoding = Decoding(temperature=0, **settings)
    found = list(generate_texts(engine, tokenizer, [[5]], decoding, {tokenizer.end_id}))
    return [piece for _, piece, _ in found], found[-1][2]


def test_the_end_token_ends_a_text_and_is_no_part_of_it(reciter, byte):
    pieces, stream = recited(reciter, byte)
    assert "".join(pieces) == TALE
    assert stream.finish == "end" and stream.tokens == len(TALE.encode())


def test_pieces_are_whole_characters(reciter, byte):
    pieces, _ = recited(reciter, byte)
    assert [piece for piece in pieces if piece] == list(TALE)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 10, 15])
def test_a_text_ends_after_max_tokens(count, reciter, byte):
    pieces, stream = recited(reciter, byte, max_tokens=count)
    assert "".join(pieces) == TALE.encode()[:count].decode(errors="ignore")
    assert stream.finish == "length" and stream.tokens == count


@pytest.mark.parametrize("stop", ["fox", " a f", "🙂", "x. 完", "a", "。"])
def test_a_text_ends_before_a_stop_string(stop, reciter, byte):
    pieces, stream = recited(reciter, byte, stop=(stop, "never said"))
    found = TALE.find(stop)
    assert "".join(pieces) == (TALE[:found] if found >= 0 else TALE)
    assert stream.finish == ("stop" if found >= 0 else "end")
    if found >= 0:
        assert stream.tokens == len(TALE[: found + len(stop)].encode())


def test_what_was_held_for_a_stop_string_comes_when_the_text_ends(reciter, byte):
    assert "".join(recited(reciter, byte, stop=("完了",))[0]) == TALE
    assert "".join(recited(reciter, byte, stop=("fox!",), max_tokens=15)[0]) == "从前🙂 a fo"


def test_every_prompt_ends_for_a_reason_of_its_own(byte):
    """Prompts of one, two and three tokens hear the recital from different places on."""
    engine = Engine(reciting([*byte.encode("abcd"), byte.end_id], byte.vocab_size), "fp32")
    texts, streams = {}, {}
    decoding = Decoding(temperature=0, max_tokens=3, stop=("d",))
    prompts = [[5], [5, 6, 7], [5, 6, 7, 8, 9], [5]]
    for number, piece, stream in generate_texts(engine, byte, prompts, decoding, {byte.end_id}):
        texts[number] = texts.get(number, "") + piece
        streams[number] = stream
    assert texts == {0: "abc", 1: "c", 2: "", 3: "abc"}
    assert [streams[n].finish for n in range(4)] == ["length", "stop", "end", "length"]


def test_a_prompt_longer_than_the_context_loses_its_beginning_with_a_warning(byte, capsys):
    model = randomized(CONFIGS["qwen3"])
    (prompt,) = some_prompts([1030])
    found = continuations(Engine(model, "fp32"), [prompt], GREEDY)
    said = capsys.readouterr().err
    assert "The prompt has 1,030 tokens" in said
    assert "sees 24 at once" in said and "the first 1,006 were left out" in said
    assert found == [slow_greedy(model, prompt[-24:], 12)]
    continuations(Engine(model, "fp32"), [prompt[:24], prompt[:25]], GREEDY)
    said = capsys.readouterr().err
    assert "Prompt 2 has 25 tokens" in said and "Prompt 1" not in said


def test_no_prompts_are_no_continuations(reciter, byte):
    assert list(generate_texts(reciter, byte, [], GREEDY)) == []
