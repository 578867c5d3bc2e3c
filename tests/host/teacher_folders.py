"""A fine-tuned BERT in the folders that the examples start from: ``teacher_folders.py CHECKPOINT FOLDER WIDTH``.

Writes ``FOLDER/nlp`` (``inference.pdmodel``; feeds ``input_ids`` and ``token_type_ids`` of any width) and
``FOLDER/pytorch_huggingface`` (``model.pdmodel``; feeds ``x0`` ids, ``x1`` mask, ``x2`` types, ``WIDTH`` wide, as
X2Paddle names them), each with its tokenizer files. Without a checkpoint, ``tiny`` in its place: a small BERT that is
fine-tuned on reviews made here, which go to ``FOLDER/data``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

TINY = "tiny"


def write_teacher_folders(checkpoint: str, folder: Path, width: int) -> None:
    import paddle
    from paddlenlp.transformers import AutoModelForSequenceClassification, BertTokenizer

    paddle.disable_static()
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "checkpoint"  # PaddleNLP converts weights in place
        if checkpoint == TINY:
            _write_tiny_checkpoint(copy, folder / "data", width)
        else:
            shutil.copytree(checkpoint, copy, copy_function=shutil.copyfile)
            copy.chmod(0o755)
        torch = (copy / "model.safetensors").is_file() or (copy / "pytorch_model.bin").is_file()
        model = AutoModelForSequenceClassification.from_pretrained(str(copy), dtype="float32", convert_from_torch=torch,
                                                                   use_cache=False)
        for example in ("nlp", "pytorch_huggingface"):
            BertTokenizer.from_pretrained(str(copy)).save_pretrained(str(folder / example))

    class WithMask(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x0, x1, x2):
            return self.model(x0, token_type_ids=x2, attention_mask=x1)

    for example, layer, file, names, length in (
            ("nlp", model, "inference", ("input_ids", "token_type_ids"), None),
            ("pytorch_huggingface", WithMask(), "model", ("x0", "x1", "x2"), width)):
        layer.eval()
        feeds = [paddle.static.InputSpec([None, length], "int64", name) for name in names]
        paddle.jit.save(paddle.jit.to_static(layer, input_spec=feeds, full_graph=True), str(folder / example / file))
    paddle.enable_static()


def _write_tiny_checkpoint(checkpoint: Path, data: Path, width: int) -> None:
    """Fine-tune the tests' tiny BERT on their reviews until it is right about nine of ten that it has not seen."""
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    import numpy as np
    import paddle
    from paddlenlp.transformers import BertForSequenceClassification, BertTokenizer
    from reviews import make_reviews, write_reviews
    from teachers import make_tiny_teacher

    write_reviews(data)
    make_tiny_teacher(checkpoint, max_position_embeddings=max(width, 128), hidden_dropout_prob=0.0,
                      attention_probs_dropout_prob=0.0)
    paddle.disable_static()
    tokenizer = BertTokenizer.from_pretrained(str(checkpoint))
    model = BertForSequenceClassification.from_pretrained(str(checkpoint))
    texts, labels = zip(*make_reviews(380, seed=0)[:300])  # what write_reviews trains on
    feeds = tokenizer(list(texts), padding=True, return_tensors="pd")
    labels = paddle.to_tensor(np.array(labels))
    optimizer = paddle.optimizer.AdamW(2e-3, parameters=model.parameters())
    for _ in range(60):
        loss = paddle.nn.functional.cross_entropy(model(**feeds), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    model.save_pretrained(str(checkpoint), safe_serialization=False)
    tokenizer.save_pretrained(str(checkpoint))


if __name__ == "__main__":
    write_teacher_folders(sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3]))
