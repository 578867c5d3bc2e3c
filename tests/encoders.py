"""Tiny classifiers of every family, with a tokenizer of their own kind, as Hugging Face and PaddleNLP keep them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
import sentencepiece
import tokenizers
from pair_reviews import make_pairs
from reviews import make_reviews
from teachers import VOCABULARY

from paddleslim_bilstm.teacher.families import FAMILIES

HIDDEN = 32
MARKED = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
BERTS = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "unk", "mask")}
# name: PaddleNLP's class, the padding's id, settings of its config, the tokenizer's files, its special tokens
KINDS = {
    "bert": ("Bert", 0, {}, "vocab.txt", BERTS),
    "ernie": ("Ernie", 0, {"use_task_id": True, "task_id": 1, "task_type_vocab_size": 3}, "vocab.txt", BERTS),
    "roberta": ("Roberta", 1, {"type_vocab_size": 1}, "vocab.json", MARKED),
    "xlm-roberta": ("Roberta", 1, {"type_vocab_size": 1}, "sentencepiece.bpe.model", MARKED),
    "mpnet": ("MPNet", 1, {"max_position_embeddings": 66}, "mpnet", {**MARKED, "unk_token": "[UNK]"}),
    "distilbert": ("DistilBert", 0, {}, "vocab.txt", BERTS),
    "electra": ("Electra", 0, {"embedding_size": 16}, "vocab.txt", BERTS),
    "albert": ("Albert", 0, {"embedding_size": 16, "num_hidden_layers": 3, "hidden_act": "gelu_new"}, "spiece.model",
               {**BERTS, "pad_token": "<pad>", "unk_token": "<unk>"}),
}
TEXTS = [text.replace(" .", ".").replace(" and", ",").capitalize() for text, _ in make_reviews(120, seed=5)]
PAIRS = [pair for pair, _ in make_pairs(60, seed=5)]


def write_tokenizer(folder: Path, files: str, names: dict[str, str]) -> int:
    """Write a tokenizer as a library older than ``tokenizer.json`` does, and return the size of its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**names, "do_lower_case": True}
    if files == "vocab.txt":
        words = VOCABULARY
    elif files == "mpnet":  # a BERT's words with other special tokens
        words = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", *VOCABULARY[5:], "<mask>"]
        config["tokenizer_class"] = "MPNetTokenizer"
    else:
        words = None
    if words:
        (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        size = len(words)
    elif files == "vocab.json":
        trained = tokenizers.ByteLevelBPETokenizer()
        trained.train_from_iterator(TEXTS, 400, 2, show_progress=False,
                                    special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
        trained.save_model(str(folder))
        size = trained.get_vocab_size()
    else:
        size = _write_sentencepiece(folder / files)
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return size


def _write_sentencepiece(path: Path) -> int:
    xlm = path.name.startswith("sentencepiece")
    first = {} if xlm else {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1,
                            "control_symbols": ["[CLS]", "[SEP]"], "user_defined_symbols": ["[MASK]"]}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS if xlm else map(str.lower, TEXTS)), model_writer=model, vocab_size=120,
        hard_vocab_limit=False, minloglevel=2, **first)
    path.write_bytes(model.getvalue())
    size = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()
    return size + 2 if xlm else size  # XLM-R has <pad> and <mask> beside SentencePiece's own


def make_network(kind: str, vocabulary: int, classes: int = 2):
    """Return PaddleNLP's own network with random weights, in dynamic mode."""
    import paddle
    from paddlenlp import transformers

    name, pad_id, settings, *_ = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**{
        "vocab_size": vocabulary, "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": 64, "num_labels": classes, "pad_token_id": pad_id,
        **({} if kind in ("mpnet", "distilbert") else {"type_vocab_size": 2}), **settings})
    network = getattr(transformers, f"{name}ForSequenceClassification")(config)
    network.eval()
    rng = np.random.default_rng(0)
    for weight, parameter in sorted(network.state_dict().items()):
        if parameter.dtype == paddle.float32:
            norm = "norm" in weight.lower() and weight.endswith("weight")
            parameter.set_value((0.3 * rng.standard_normal(parameter.shape) + norm).astype(np.float32))
    return network


def make_encoder_teacher(folder: Path, kind: str, form: str = "huggingface"):
    """Write the classifier and its tokenizer into ``folder``; return PaddleNLP's network with the same weights.

    ``form`` is ``huggingface`` or ``paddlenlp``.
    """
    import paddle

    paddle.disable_static()
    network = make_network(kind, write_tokenizer(folder, *KINDS[kind][3:]))
    arrays = {name: value.numpy() for name, value in network.state_dict().items() if "position_ids" not in name}
    config = network.config.to_dict()
    if form == "huggingface":
        arrays = hugging_face_weights(KINDS[kind][0], arrays)
        config = {**config, "model_type": kind, "architectures": None}
        if kind == "distilbert":
            for theirs, paddles in (("dim", "hidden_size"), ("n_layers", "num_hidden_layers"),
                                    ("activation", "hidden_act"), ("n_heads", "num_attention_heads"),
                                    ("hidden_dim", "intermediate_size")):
                config[theirs] = config.pop(paddles)
    else:
        config["architectures"] = [type(network).__name__]
    safetensors.numpy.save_file(arrays, str(folder / "model.safetensors"), {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    paddle.enable_static()
    return network


def hugging_face_weights(paddle_class: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return PaddleNLP's weights under Hugging Face's names, matrices turned round."""
    family = next(one for one in FAMILIES if one.paddle_class == paddle_class)
    parts = sorted(family.paddle, key=lambda part: -len(family.paddle[part]))  # an "output" is in other names, too
    layer = family.paddle["layer"].split("{")[0]
    renamed = {}
    for name, array in arrays.items():
        bare = name.removeprefix(f"{family.paddle_prefix}.")
        body, last = bare.rsplit(".", 1)
        tables = any(table in name for table in ("embeddings.word", "embeddings.position", "embeddings.token_type",
                                                 "embeddings.task", "relative_attention_bias"))
        if body.startswith(layer):
            place = body[len(layer):]
            numbers = [part for part in place.split(".") if part.isdigit()]
            part = next(one for one in parts if one != "layer" and body.endswith(f".{family.paddle[one]}"))
            body = family.torch["layer"].format(*(numbers * 3)[:1], *(numbers * 2)[:2]) + "." + family.torch[part]
        else:
            body = family.torch[next(one for one in parts if family.paddle[one] == body)]
        prefix = "" if body.startswith(family.outside) else f"{family.torch_prefix}."
        renamed[f"{prefix}{body}.{last}"] = np.ascontiguousarray(array if tables or array.ndim < 2 else array.T)
    return renamed
