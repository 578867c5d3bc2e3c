"""A tiny real BERT or ERNIE classifier, made on the spot, in each form that users have.

PaddleNLP makes it where it is installed, our own encoder elsewhere; the weights are the same.
"""

from __future__ import annotations

import inspect
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Sequence

import numpy as np

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """
the a an this that it its is was are were be been has have had i we you he she they them his her their my our your me
us of to in on at for from with by as about into over than then so too very really quite rather just only even still
never not no nor nothing nobody hardly but and or although though because while if when what who which how why all any
some every each both most more less much many few one two three first last another other same such here there now again
film movie story plot script scene scenes acting actor actors cast director music ending beginning book show food
service room hotel staff place price phone battery screen camera book ##s ##ed ##ing ##ly ##er ##est ##n ##t good great
best better bad worse worst awful terrible horrible boring dull slow fun funny fresh smart clever touching moving warm
lovely beautiful brilliant excellent perfect wonderful amazing delightful charming weak poor cheap flat empty stupid
silly messy loud cold dirty clean friendly rude fast easy hard long short old new love loved like liked hate hated
enjoy enjoyed watch watched see saw find found feel felt think thought make made makes work works worked waste time
money day night people family kids world life heart mind end way thing things lot bit kind sort . , ! ? ' -
""".split()
VOCABULARY = SPECIAL_TOKENS + sorted(set(WORDS) | set("abcdefghijklmnopqrstuvwxyz"))
HIDDEN = 32
_HUGGING_FACE_NAMES = [
    (r"encoder\.layers\.", "encoder.layer."), (r"self_attn\.q_proj", "attention.self.query"),
    (r"self_attn\.k_proj", "attention.self.key"), (r"self_attn\.v_proj", "attention.self.value"),
    (r"self_attn\.out_proj", "attention.output.dense"), (r"linear1", "intermediate.dense"),
    (r"linear2", "output.dense"), (r"norm1", "attention.output.LayerNorm"), (r"norm2", "output.LayerNorm"),
    (r"layer_norm", "LayerNorm"),
]


def make_tiny_teacher(folder: Path, kind: str = "paddlenlp", num_classes: int = 2, architecture: str = "bert",
                      label_names: Sequence[str] | None = None, seed: int = 0, **config: object) -> Path:
    """Write a 2-layer classifier with 32 hidden units and its tokenizer files into ``folder``, and return it.

    The same ``architecture``, ``num_classes`` and ``seed`` have the same weights in every kind; the logits differ
    from sentence to sentence.

    Args:
        kind: ``"paddlenlp"`` (config.json, model_state.pdparams), ``"huggingface"`` (config.json with ``use_cache``,
            model.safetensors in fp16; BERT only), ``"exported"`` (inference.pdmodel, inference.pdiparams) or
            ``"json"`` (likewise, but in the Paddle's own kind of programs: inference.json on Paddle 3).
        architecture: ``"bert"`` or ``"ernie"``.
        config: settings of PaddleNLP's model configuration to change.
    """
    import paddle

    from paddleslim_bilstm.old_programs import old_programs

    paddle.disable_static()
    folder.mkdir(parents=True, exist_ok=True)
    save = {"paddlenlp": _save_paddlenlp, "huggingface": _save_hugging_face, "exported": _save_exported,
            "json": _save_exported}[kind]
    try:
        with nullcontext() if kind == "json" else old_programs():
            save(_model(architecture, num_classes, label_names, seed, config), folder)
    finally:
        paddle.enable_static()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}), encoding="utf-8")
    return folder


def _model(architecture, num_classes, label_names, seed, config):
    prefix = {"bert": "Bert", "ernie": "Ernie"}[architecture]
    if label_names:
        config = {**config, "id2label": dict(enumerate(label_names))}
    settings = {"vocab_size": len(VOCABULARY), "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 64, "max_position_embeddings": 64, "num_labels": num_classes, **config}
    try:
        from paddlenlp import transformers
    except ImportError:
        model = _own_encoder(prefix, settings)
    else:
        model = getattr(transformers, f"{prefix}ForSequenceClassification")(
            getattr(transformers, f"{prefix}Config")(**settings))
    model.eval()
    rng = np.random.default_rng(seed)
    for name, parameter in sorted(named(model).items()):
        values = 0.3 * rng.standard_normal(parameter.shape) + ("norm" in name and name.endswith("weight"))
        parameter.set_value(values.astype(np.float16).astype(np.float32))
    return model


def _own_encoder(prefix, settings):
    """Our encoder in place of PaddleNLP's classifier ``prefix``."""
    from paddleslim_bilstm.teacher.encoder import EncoderClassifier
    from paddleslim_bilstm.teacher.families import FAMILIES, EncoderSpec

    if settings.get("use_cache"):
        import pytest
        pytest.skip("needs PaddleNLP, whose classifiers return keys and values")
    types, depth = settings.get("type_vocab_size", 2), settings["num_hidden_layers"]
    family = next(family for family in FAMILIES if family.paddle_class == prefix)
    dropout = settings.get("hidden_dropout_prob", 0.1)
    model = EncoderClassifier(EncoderSpec(
        family=family, vocab=settings["vocab_size"], embedding=HIDDEN, hidden=HIDDEN, inner=64, heads=2, depth=depth,
        groups=depth, group_size=1, positions=settings["max_position_embeddings"], first_position=0, types=types,
        tasks=0, task=0, classes=settings["num_labels"], epsilon=1e-12, activation="gelu", head_activation="tanh",
        distances=0, far=0, norm_distances=False, hidden_dropout=dropout, attention_dropout=dropout,
        head_dropout=dropout, pool_dropout=0.0, spread=0.02), pad_id=0)
    names = settings.get("id2label")
    model.written_config = {**model.spec.config({}), **({"id2label": names} if names else {})}
    return model


def named(model) -> dict:
    """Return the parameters by PaddleNLP's names."""
    spec = getattr(model, "spec", None)
    if spec is None:
        return model.state_dict()
    paddle_names, prefix = spec.family.paddle, f"{spec.family.paddle_prefix}."
    return {spec.spelled(name, paddle_names, prefix): value for name, value in model.state_dict().items()}


def config_of(model) -> dict:
    return model.written_config if hasattr(model, "written_config") else model.config.to_dict()


def _save_paddlenlp(model, folder: Path) -> None:
    import paddle

    if not hasattr(model, "spec"):
        model.save_pretrained(str(folder))
        return
    paddle.save(named(model), str(folder / "model_state.pdparams"))
    (folder / "config.json").write_text(json.dumps(config_of(model)), encoding="utf-8")


def _save_hugging_face(model, folder: Path) -> None:
    import safetensors.numpy

    weights = {}
    for name, value in named(model).items():
        array = value.numpy().astype(np.float16)
        linear = array.ndim == 2 and "embeddings" not in name
        for pattern, replacement in _HUGGING_FACE_NAMES:
            name = re.sub(pattern, replacement, name)
        weights[name] = np.ascontiguousarray(array.T if linear else array)
    safetensors.numpy.save_file(weights, str(folder / "model.safetensors"), {"format": "pt"})
    config = {**config_of(model), "architectures": ["BertForSequenceClassification"], "model_type": "bert",
              "torch_dtype": "float16", "use_cache": True}
    for key in ("dtype", "paddlenlp_version", "num_classes"):
        config.pop(key, None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _save_exported(model, folder: Path) -> None:
    import paddle

    feeds = [paddle.static.InputSpec([None, None], "int64", name)
             for name in list(inspect.signature(model.forward).parameters)[:2]]
    paddle.jit.save(paddle.jit.to_static(model, input_spec=feeds), str(folder / "inference"))
