"""Small folders of encoder-decoders with Transformers' own tokenizers, most of many languages."""

import string

import torch

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
PIECES = [*SPECIAL, "▁", *(f"▁{a}" for a in string.ascii_lowercase), *string.ascii_letters]

# name -> class of the model and of the tokenizer, languages, the token that targets start from
LANGUAGE_KINDS = {
    "nllb": ("m2m_100", "NllbTokenizer", ("eng_Latn", "deu_Latn"), 2),
    "mbart-50": ("mbart", "MBart50Tokenizer", ("en_XX", "de_DE"), 2),
    "mbart-25": ("mbart", "MBartTokenizer", ("en_XX", "de_DE"), None),
}


def language_tokenizer(name, source=None, target=None):
    """Of letters, a word's first one apart, with all the languages of its class."""
    import transformers

    kind = LANGUAGE_KINDS[name][1]
    if kind == "NllbTokenizer":
        vocab = {piece: i for i, piece in enumerate(PIECES)}
        merges = [("▁", letter) for letter in string.ascii_lowercase]
        made = transformers.NllbTokenizer(
            vocab=vocab, merges=merges, src_lang=source, tgt_lang=target
        )
    else:
        pieces = [(piece, -float(i)) for i, piece in enumerate(PIECES)]
        made = getattr(transformers, kind)(vocab=pieces, src_lang=source, tgt_lang=target)
    return made


def bart_tokenizer():
    import transformers

    pieces = [*SPECIAL, "Ġ", *string.ascii_letters, "<mask>"]
    return transformers.BartTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=[])


def save_language_folder(folder, name):
    """The model, random, of one of LANGUAGE_KINDS, or of "bart"."""
    import transformers

    kind, _, _, start = LANGUAGE_KINDS.get(name, ("bart", None, None, 2))
    tokenizer = bart_tokenizer() if name == "bart" else language_tokenizer(name)
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer) - (name == "bart"),  # of <mask> some BARTs have no row
        d_model=48,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        activation_function="gelu",
        init_std=0.2,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=start,
        forced_eos_token_id=None,
    )
    torch.manual_seed(1)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval()
    if name == "bart":
        model.generation_config.forced_bos_token_id = 0
    model.save_pretrained(folder, max_shard_size="100KB")
    tokenizer.save_pretrained(folder)
    return model
