"""The encoder-decoder: pairs in a row do not see each other, and each is as if it were alone."""

import numpy as np
import pytest
import torch
from made_columns import END, START, Column

from xunlian.data.pairs import NO_TARGET, PairRows
from xunlian.models.encoder_decoder import EncoderDecoder, initialize
from xunlian.models.losses import IGNORED, cross_entropy
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.positions import places

VOCAB, CONTEXT = 61, 40


def config(architecture="pegasus"):
    return EncoderDecoderConfig(architecture, VOCAB, 2, 3, 32, 4, 64, CONTEXT, first_position=2)


def randomized(architecture="pegasus", dropout=0.0):
    """All weights random, so that every part counts."""
    model = EncoderDecoder(config(architecture), dropout)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.3, generator=generator)
            if name.endswith("norm.weight"):
                parameter.add_(1)
    return model


def some_documents(count, seed):
    rng = np.random.default_rng(seed)
    return [np.append(rng.integers(2, VOCAB, rng.integers(1, 15)), END) for _ in range(count)]


@pytest.mark.parametrize("form", ["sdpa", "matmul"])
@pytest.mark.parametrize("architecture", ["pegasus", "marian", "m2m_100", "bart", "mbart"])
def test_packed_pairs_have_the_loss_and_the_gradients_of_pairs_one_by_one(architecture, form):
    sources, targets = some_documents(30, 1), some_documents(30, 2)
    rows = PairRows(Column(sources), Column(targets), CONTEXT, START, seed=7)
    assert rows.pairs == 30 and rows.rows_per_epoch < 15
    model = randomized(architecture)
    model.attention_form = form

    *inputs, wanted = map(torch.from_numpy, rows.read(0, rows.rows_per_epoch))
    hidden = model(*inputs).flatten(0, 1)
    packed = cross_entropy(hidden, model.head_weight, wanted.flatten())
    packed.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}

    model.zero_grad()
    alone = 0.0
    for source, target in zip(sources, targets, strict=True):
        source, target = torch.from_numpy(source)[None], torch.from_numpy(target)[None]
        start = torch.cat([torch.full((1, 1), START), target[:, :-1]], dim=1)
        same, zero = torch.zeros_like(source), torch.zeros_like(start)
        hidden = model(source, same, start, zero).flatten(0, 1)
        loss = cross_entropy(hidden, model.head_weight, target.flatten())
        loss.backward()
        alone += loss.item()
    assert packed.item() == pytest.approx(alone, rel=1e-6)
    # To rounding: the biases of keys have no gradient but that.
    largest = max(parameter.grad.abs().max().item() for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        assert (gradients[name] - parameter.grad).abs().max().item() < 1e-6 * largest, name


@torch.no_grad()
def test_a_target_sees_its_own_source_and_its_own_past_only():
    model = randomized()
    source = torch.randint(2, VOCAB, (1, 12))
    target = torch.randint(2, VOCAB, (1, 10))
    source_pairs = torch.tensor([[0] * 6 + [1] * 5 + [-1]])
    target_pairs = torch.tensor([[0] * 4 + [1] * 6])
    before = model(source, source_pairs, target, target_pairs)[0]

    def changed_by(source_at=None, target_at=None):
        other_source, other_target = source.clone(), target.clone()
        if source_at is not None:
            other_source[0, source_at] = (other_source[0, source_at] + 1) % VOCAB
        if target_at is not None:
            other_target[0, target_at] = (other_target[0, target_at] + 1) % VOCAB
        after = model(other_source, source_pairs, other_target, target_pairs)[0]
        return ((after - before).abs().amax(-1) > 1e-4).tolist()

    assert changed_by(source_at=2) == [True] * 4 + [False] * 6
    assert changed_by(source_at=8) == [False] * 4 + [True] * 6
    assert changed_by(source_at=11) == [False] * 10  # padding
    assert changed_by(target_at=1) == [False] + [True] * 3 + [False] * 6
    assert changed_by(target_at=6) == [False] * 6 + [True] * 4


def test_places_count_from_the_beginning_of_each_pair():
    pairs = torch.tensor([[0, 0, 0, 1, 2, 2, -1, -1], [5, 5, 5, 5, 5, 5, 5, 5]])
    assert places(pairs).tolist() == [[0, 1, 2, 0, 0, 1, 0, 1], list(range(8))]


@pytest.mark.parametrize("architecture", ["pegasus", "marian"])
def test_a_new_model_repeats_with_its_seed(architecture):
    first, second = (EncoderDecoder(config(architecture)) for _ in range(2))
    for model in (first, second):
        initialize(model, torch.Generator().manual_seed(3))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not first.encoder[0].mlp.output.weight.any()


def test_dropout_is_only_in_training_and_repeats_with_the_random_state():
    model, plain = randomized(dropout=0.3), randomized()
    batch = [torch.randint(2, VOCAB, (2, 9)) for _ in range(2)]
    zeros = torch.zeros(2, 9, dtype=torch.long)
    arguments = (batch[0], zeros, batch[1], zeros)
    assert torch.equal(model.eval()(*arguments), plain(*arguments))
    model.train()
    torch.manual_seed(1)
    first, second = model(*arguments), model(*arguments)
    assert not torch.allclose(first, second, atol=1e-2)
    torch.manual_seed(1)
    assert torch.equal(model(*arguments), first)


def test_what_the_packer_marks_as_no_target_the_loss_ignores():
    assert NO_TARGET == IGNORED
