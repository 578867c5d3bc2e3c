"""A student computed by the book in NumPy, one token at a time, and random students to try it on."""

import numpy as np

from paddleslim_bilstm.export.int8 import round_layers
from paddleslim_bilstm.export.onnx_model import build_onnx, write_onnx
from paddleslim_bilstm.predict.runtimes import onnx_logits, sentence_logits
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.weights import first_weights, num_features, save_student
from paddleslim_bilstm.tokens import load_tokenizer


def random_student(seed=0, rows=50, vocab=80, embed_dim=12, hidden_size=8, num_layers=1, classes=3, pad_id=0,
                   pairs=False, pooling="max", encoder="bilstm", matches=False):
    rng = np.random.default_rng(seed)
    names = tuple(f"class {number}" for number in range(classes))
    spec = StudentSpec(embed_dim=embed_dim, hidden_size=hidden_size, num_layers=num_layers, label_names=names,
                       pad_id=pad_id, max_seq_length=32, pairs=pairs, pooling=pooling, encoder=encoder,
                       matches=matches)
    token_map = rng.integers(0, rows, vocab).astype(np.int32)
    token_map[0] = rows - 1
    weights = first_weights(spec, token_map, rng.normal(0, 0.5, (rows, spec.table_units)), rng)
    for name in ("hidden.bias", "output.bias"):
        weights[name] = rng.normal(0, 0.1, weights[name].shape).astype(np.float32)
    return weights, spec


def reference_logits(weights, spec, input_ids, token_type_ids=None):
    """Answer each row by itself: no padding, no batch, float64."""
    if not spec.pairs:
        lengths = np.maximum((input_ids != spec.pad_id).sum(axis=1) - 2, 1)
        return np.stack([_answer(weights, _summary(weights, spec, row[1:1 + length]))
                         for row, length in zip(input_ids, lengths)])
    return np.stack([_one_pair(weights, spec, *rows) for rows in zip(input_ids, token_type_ids)])


def _one_pair(weights, spec, row, types):
    """Cut ``[CLS] first [SEP] second [SEP] padding`` where the types change; an empty side has zero states."""
    used = row != spec.pad_id
    first, second = row[used & (types == 0)][1:-1], row[used & (types == 1)][:-1]
    one, other = (_summary(weights, spec, side, of_other) if len(side) else np.zeros(num_features(spec) // 4)
                  for side, of_other in ((first, second), (second, first)))
    return _answer(weights, np.concatenate([one, other, np.abs(one - other), one * other]))


def _summary(weights, spec, ids, of_other=()):
    rows = weights["token_map"][ids]
    states = weights["embedding"][rows].astype(np.float64)
    if spec.matches:
        there = np.isin(rows, weights["token_map"][np.asarray(of_other, np.int64)])
        states = np.concatenate([there[:, None], states], axis=1)
    run, prefix = {"bilstm": (_run_lstm, "lstm"), "bigru": (_run_gru, "gru")}[spec.encoder]
    for layer in range(spec.num_layers):
        forward = run(weights, f"{prefix}.{layer}.forward", states)
        backward = run(weights, f"{prefix}.{layer}.backward", states[::-1])
        states = np.concatenate([forward, backward[::-1]], axis=1)
    pooled = []
    if spec.pooling == "max":
        pooled = [forward.max(axis=0), backward.max(axis=0)]
    elif spec.pooling == "attention":
        shares = np.exp(np.tanh(states) @ weights["attention.weight"])
        pooled = [(states * shares).sum(axis=0) / shares.sum()]
    return np.concatenate([forward[-1], backward[-1], *pooled])


def _answer(weights, summary):
    hidden = np.tanh(summary @ weights["hidden.weight"] + weights["hidden.bias"])
    return hidden @ weights["output.weight"] + weights["output.bias"]


def _run_gru(weights, name, inputs):
    """Cho et al. 2014, with the reset gate behind the product; gates r, z, c."""
    units = len(weights[f"{name}.bias_ih"]) // 3
    state, states = np.zeros(units), []
    for one in inputs:
        of_input = weights[f"{name}.weight_ih"] @ one + weights[f"{name}.bias_ih"]
        of_state = weights[f"{name}.weight_hh"] @ state + weights[f"{name}.bias_hh"]
        reset, update = (_sigmoid(of_input[part] + of_state[part])
                         for part in (slice(0, units), slice(units, 2 * units)))
        candidate = np.tanh(of_input[2 * units:] + reset * of_state[2 * units:])
        state = update * state + (1 - update) * candidate
        states.append(state)
    return np.stack(states)


def _run_lstm(weights, name, inputs):
    units = len(weights[f"{name}.bias_ih"]) // 4
    state, cell, states = np.zeros(units), np.zeros(units), []
    for one in inputs:
        gates = (weights[f"{name}.weight_ih"] @ one + weights[f"{name}.bias_ih"]
                 + weights[f"{name}.weight_hh"] @ state + weights[f"{name}.bias_hh"])
        enter, forget, candidate, leave = np.split(gates, 4)
        cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(candidate)
        state = _sigmoid(leave) * np.tanh(cell)
        states.append(state)
    return np.stack(states)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"a the film is was not good bad dull fun very and but".split()]


def output_folder(folder, **sizes):
    """Write what `compress` leaves for prediction: tokenizer, student, both ONNX models; return weights and spec."""
    weights, spec = random_student(vocab=len(WORDS), **sizes)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    save_student(folder, weights, spec)
    write_onnx(folder / "model.onnx", weights, spec)
    write_onnx(folder / "model.int8.onnx", round_layers(weights, spec), spec)
    return weights, spec


def random_texts(count, seed=0, longest=40):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[5:], rng.integers(0, longest))) for _ in range(count)]


def dev_set(folder, spec, weights, count=200):
    """Texts with the float student's own answers as their labels: float accuracy is 1."""
    tokenizer = load_tokenizer(folder)
    sentences = tokenizer.encode(random_texts(count)).truncate(spec.max_seq_length - 2)
    run = onnx_logits(build_onnx(weights, spec).SerializeToString())
    token_ids = [one.tolist() for one in sentences]
    framing = tokenizer.framing
    return sentences, sentence_logits(run, token_ids, framing, spec.max_seq_length, 32).argmax(axis=1), framing


def break_hidden_layer(weights):
    """Give each column of a 16-unit student's hidden layer a weight so large that rounding loses the others."""
    weights["hidden.weight"] = weights["hidden.weight"].copy()
    weights["hidden.weight"][0] = 300 * np.sign(weights["hidden.weight"][0])
    for direction in ("forward", "backward"):  # unit 0 of the summary is always 0: its output gate is shut
        weights[f"lstm.0.{direction}.bias_ih"] = weights[f"lstm.0.{direction}.bias_ih"].copy()
        weights[f"lstm.0.{direction}.bias_ih"][3 * 16] = -100
    weights["hidden.bias"] = np.zeros_like(weights["hidden.bias"])
    weights["output.bias"] = np.zeros_like(weights["output.bias"])
