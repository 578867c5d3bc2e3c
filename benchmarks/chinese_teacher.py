"""A small BERT for Chinese with random weights, for machines that no pretrained one reaches.

    python benchmarks/chinese_teacher.py output/chnsenticorp/pretrained --train data/chnsenticorp/train.tsv
    paddleslim-bilstm finetune configs/chnsenticorp.yaml -o Finetune.model=output/chnsenticorp/pretrained \\
        Finetune.epochs=6 Finetune.learning_rate=7.0e-4 Global.max_seq_length=96

The first writes what `finetune` takes for a pretrained model: config.json, weights, and a vocabulary of the characters
of the training text. Nothing is pretrained, so the teacher will be far from bert-base-chinese.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Sequence

from paddleslim_bilstm.text import read_file

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_FEWEST_OCCURRENCES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", required=True, help="the training text: .tsv, .csv or .jsonl")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--max-length", type=int, default=96, help="tokens of the longest input")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    vocabulary = character_vocabulary(read_file(arguments.train, "--train").texts)
    write_model(arguments.folder, len(vocabulary), arguments)
    (arguments.folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (arguments.folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}), encoding="utf-8")
    print(f"{arguments.folder}: {arguments.layers} layers, {arguments.units} units, {len(vocabulary):,} tokens")


def character_vocabulary(texts: Sequence[str]) -> list[str]:
    """Return the special tokens and every character that occurs twice, the commonest first.

    Letters and digits are there as word pieces, too (``a`` and ``##a``): BERT's tokenizers split Chinese text into
    characters, and other words into pieces.
    """
    counts = Counter(character for text in texts for character in text.lower() if not character.isspace())
    characters = [character for character, count in counts.most_common() if count >= _FEWEST_OCCURRENCES]
    return _SPECIAL_TOKENS + characters + ["##" + one for one in characters if one.isascii() and one.isalnum()]


def write_model(folder: Path, vocab_size: int, sizes: argparse.Namespace) -> None:
    """Write ``config.json`` and ``model.safetensors`` of a BERT as PaddleNLP initialises it."""
    import paddle
    from paddlenlp.transformers import BertConfig, BertModel

    paddle.seed(sizes.seed)
    config = BertConfig(vocab_size=vocab_size, hidden_size=sizes.units, num_hidden_layers=sizes.layers,
                        num_attention_heads=sizes.units // 64, intermediate_size=4 * sizes.units,
                        max_position_embeddings=sizes.max_length)
    BertModel(config).save_pretrained(str(folder), safe_serialization=True)


if __name__ == "__main__":
    main()
