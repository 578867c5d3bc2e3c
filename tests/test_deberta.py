"""DeBERTa-v3, which PaddleNLP doesn't have, against the answers of Hugging Face's own network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy

from paddleslim_bilstm.teacher import load_teacher
from paddleslim_bilstm.tokens import Sentences

CONFIG = {
    "model_type": "deberta-v2", "vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64, "type_vocab_size": 0, "relative_attention": True,
    "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False, "pad_token_id": 0, "hidden_act": "gelu", "pooler_hidden_act": "gelu",
    "layer_norm_eps": 1e-7, "max_relative_positions": -1, "num_labels": 2}
LINEARS = {**{f"attention.{name}": (32, 32) for name in ("output.dense", "self.key_proj", "self.query_proj",
                                                         "self.value_proj")},
           "intermediate.dense": (48, 32), "output.dense": (32, 48)}
NORMS = ["embeddings.LayerNorm", "encoder.LayerNorm",
         *(f"encoder.layer.{layer}.{part}.LayerNorm" for layer in range(2) for part in ("attention.output", "output"))]
# what transformers 5.3.0's DebertaV2ForSequenceClassification answers with `CONFIG`, the weights and the ids below
ANSWERS = {3: (1.4346070, -0.5213066), 9: (0.7300261, -0.1323496), 17: (0.0254957, -0.5270586),
           40: (-0.2498958, -0.2637644), 60: (0.7748397, -0.5628879)}
ANSWER_TO_PAIR = (0.4306557, -0.8460289)


def weights() -> dict[str, np.ndarray]:
    """Random ones, drawn in the order of their names."""
    shapes = {"classifier.weight": (2, 32), "classifier.bias": (2,), "pooler.dense.weight": (32, 32),
              "pooler.dense.bias": (32,), "deberta.embeddings.word_embeddings.weight": (120, 32),
              "deberta.encoder.rel_embeddings.weight": (16, 32)}
    for layer in range(2):
        for name, shape in LINEARS.items():
            shapes[f"deberta.encoder.layer.{layer}.{name}.weight"] = shape
            shapes[f"deberta.encoder.layer.{layer}.{name}.bias"] = shape[:1]
    shapes.update({f"deberta.{name}.{part}": (32,) for name in NORMS for part in ("weight", "bias")})
    rng = np.random.default_rng(0)
    return {name: (0.3 * rng.standard_normal(shapes[name]) + (name.endswith("LayerNorm.weight"))).astype(np.float32)
            for name in sorted(shapes)}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deberta")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *(f"w{number}" for number in range(115))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    safetensors.numpy.save_file(weights(), str(folder / "model.safetensors"), {"format": "pt"})
    return load_teacher(folder, folder / "work")


def test_a_deberta_answers_as_hugging_faces_network(teacher):
    rng = np.random.default_rng(1)
    sentences = Sentences.from_lists([rng.integers(5, 120, length).tolist() for length in ANSWERS])
    np.testing.assert_allclose(teacher.logits(sentences), list(ANSWERS.values()), atol=1e-5)
    first, second = (rng.integers(5, 120, length).tolist() for length in (12, 7))
    pair = Sentences.from_sides(Sentences.from_lists([first, second]))
    np.testing.assert_allclose(teacher.logits(pair), [ANSWER_TO_PAIR], atol=1e-5)
    assert [feed.name for feed in teacher.framing.feeds] == ["input_ids"]
