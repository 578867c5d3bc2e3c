"""What the fuzzer throws at the program: hostile text, broken files, wrong settings."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
import yaml
from hypothesis import strategies as st

from paddleslim_bilstm.augment.words import row_hashes
from paddleslim_bilstm.teacher.texts_to_label import id_of
from paddleslim_bilstm.tokens import Sentences

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

_ODD_TEXTS = ["", " ", "\0", "\ud800", "\udfff\ud800", "\ufeffa", "a\r", "\r\n", "a\u2028b", "\x0b\x0c\x85", "...",
              "?!", "مرحبا بالعالم", "שלום", "👍🏽", "\U0001f469\u200d\U0001f467", "e\u0301" * 50, "\u202eabc",
              "中文文本", "[MASK] [SEP]", "a" * 5_000, "the film " * 1_000, "-", "'", '"', "=1+1", "{}", "NaN",
              "\x1b[31m", "\uffff", "\U0010ffff", "ﬃ", "İ", "ß"]

texts = st.one_of(st.sampled_from(_ODD_TEXTS), st.text(max_size=40),
                  st.text(st.characters(), max_size=20),  # with surrogates
                  st.lists(st.sampled_from("the film is not good very bad dull , .".split())).map(" ".join))

numbers = st.one_of(st.integers(-3, 3), st.integers(), st.floats(), st.sampled_from([10**30, -1, 1e308, 0.5, 1e-3]))

values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.sampled_from(["1e-3", "~", "../..", "/", "Adam", "l2"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3),
                            st.dictionaries(st.sampled_from(["type", "name", "p_mask"]), inner, max_size=2)),
    max_leaves=6)

odd_values = st.one_of(values, st.binary(max_size=8), st.tuples(values, values), st.sets(st.integers(), max_size=2),
                       st.complex_numbers(), st.dates(), st.builds(object))


_pieces = st.one_of(st.binary(max_size=4), texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
                    st.sampled_from([b"\n", b"\r\n", b"\t", b'"', b",", b"\0", b"\xff", b"\xef\xbb\xbf", b"\\ud800",
                                     b"{", b"[", b"&a", b"*a", b"!!", b": ", b"- ", b"null", b"-1", b"1e999"]))
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), _pieces), max_size=4)


def edited(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Return a file with bytes replaced, put in or cut out; each change is (where, 0 to 1; bytes to cut; bytes in)."""
    for where, length, piece in changes:
        start = int(where * len(content))
        content = content[:start] + piece + content[start + length:]
    return content


# Settings

_SECTIONS = ["Global", "bert_to_bilstm", "DataAugmentation", "TrainConfig", "Finetune", "QuantBiLSTM", "QuantPost",
             "QuantAware", "UnstructurePrune", "ASPPrune", "Distillation", "ChannelPrune"]
_KEYS = ["Global.threshold", "Global.task", "Global.seed",
         "Global.save_dir", "Global.max_seq_length", "Global.train_file", "Global.dataset",
         "bert_to_bilstm.student.hidden_size", "bert_to_bilstm.student", "bert_to_bilstm.alpha", "bert_to_bilstm.loss",
         "DataAugmentation.n_iter", "DataAugmentation.hooks", "TrainConfig.learning_rate", "TrainConfig.epochs",
         "TrainConfig.optimizer_builder", "TrainConfig.optimizer_builder.optimizer", "TrainConfig.optimizer_builder."
         "grad_clip", "TrainConfig.amp_config", "Finetune.warmup", "QuantBiLSTM.max_accuracy_drop", "QuantPost.algo",
         "QuantAware.weight_bits", "Distillation.loss", "Distillation.alpha", "Distillation.node",
         "UnstructurePrune.ratio", "UnstructurePrune.prune_params_type", "ASPPrune.prune_params_name"]
_VALID_YAML = [path.read_bytes() for path in sorted(CONFIGS.glob("*.yaml"))]

sections = st.dictionaries(st.one_of(st.sampled_from(_SECTIONS), texts), st.one_of(
    st.none(), values, st.dictionaries(st.one_of(st.sampled_from([key.split(".")[1] for key in _KEYS]), texts), values,
                                       max_size=3)), max_size=4)
overrides = st.lists(st.one_of(
    texts, st.builds("{}={}".format, st.sampled_from(_KEYS),
                     st.one_of(texts, values.map(repr), values.map(json.dumps))),
    st.builds("{}={}".format, texts, texts)), max_size=2)


def _yaml_of(value: object) -> bytes:
    try:
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return json.dumps(value).encode()


def _with_one_wrong(content: bytes, key: str, value: object) -> dict:
    """Return a shipped configuration as a dict with one setting replaced."""
    config = yaml.safe_load(content)
    place = config
    for name in key.split(".")[:-1]:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    place[key.split(".")[-1]] = value
    return config


wrong_configs = st.one_of(sections, st.builds(_with_one_wrong, st.sampled_from(_VALID_YAML), st.sampled_from(_KEYS),
                                              st.one_of(values, odd_values)))
yaml_files = st.one_of(st.binary(max_size=60), st.builds(edited, st.sampled_from(_VALID_YAML), edits),
                       sections.map(_yaml_of),
                       st.builds(_with_one_wrong, st.sampled_from(_VALID_YAML), st.sampled_from(_KEYS),
                                 values).map(_yaml_of))

# Rows

_labels = st.one_of(st.sampled_from(["0", "1", "class 0", "class 1", "class 2", "0,1", "0|1", "0;1", "0,,1", ",", ""]),
                    values, texts,
                    st.lists(st.sampled_from(["0", "1", 0, 1, "", None, "class 0", 0.5, []]), max_size=3))
_pairs = st.lists(st.tuples(texts, _labels), min_size=1, max_size=5)
_JSON_KEYS = ["text", "label", "sentence", "text_b"]


def _half(character: str) -> bool:
    """Whether this is half of a surrogate pair."""
    return "\ud800" <= character <= "\udfff"


def _table(rows: list, separator: str, end: str, bom: str) -> bytes:
    lines = [f"text{separator}label", *(f"{text}{separator}{label}" for text, label in rows)]
    return (bom + end.join(lines) + end).encode("utf-8", "surrogatepass")


def _jsonl(rows: list) -> bytes:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows).encode()


_odd_objects = st.lists(st.dictionaries(st.sampled_from(_JSON_KEYS), values), max_size=4).map(
    lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode())
_ends, _marks = st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"])
_fine_pairs = st.builds(list.__add__, st.just([("good", "0"), ("bad", "1")]),
                        st.lists(st.tuples(st.text("abc ?!,\"中👍", max_size=9), st.sampled_from("01")), max_size=4))
_fine_files = st.one_of(  # sound but for what the texts do to the format
    st.tuples(st.builds(_table, _fine_pairs, st.just("\t"), _ends, _marks), st.just(".tsv")),
    st.tuples(st.builds(_table, _fine_pairs, st.just(","), _ends, _marks), st.just(".csv")),
    st.tuples(_fine_pairs.map(_jsonl), st.just(".jsonl")))
_files = st.one_of(st.binary(max_size=60), st.builds(_table, _pairs, st.sampled_from(["\t", ","]), _ends, _marks),
                   _pairs.map(_jsonl), _odd_objects)
data_files = st.one_of(  # (content, suffix)
    _fine_files, st.tuples(_files, st.sampled_from([".tsv", ".csv", ".jsonl", ".ndjson", ".txt", ".TSV", "", ".npy"])),
    st.builds(lambda file, changes: (edited(file[0], changes), file[1]), _fine_files, edits))
data_bytes = data_files.map(lambda file: file[0])
fine_texts = st.one_of(texts, st.text(min_size=1)).filter(
    lambda text: text.strip() and "\0" not in text and not any(map(_half, text)))
_fine_rows = st.lists(st.tuples(fine_texts, st.sampled_from([0, 1, "1", 1.0, np.int64(0)])), max_size=4)
_odd_rows = st.lists(st.one_of(st.tuples(texts, _labels), texts, odd_values,
                               st.dictionaries(st.sampled_from(_JSON_KEYS), odd_values)), max_size=2)
records = st.builds(list.__add__, st.builds(list.__add__, st.just([("good", 1), ("bad", 0)]), _fine_rows),
                    st.one_of(st.just([]), st.just([]), _odd_rows))

# Labels from elsewhere

LABELLED = Sentences.from_lists([[7], [7, 8], [], [9, 9, 9], [8, 7]])  # what the labels are of
_LABEL_IDS = [id_of(hash_) for hash_ in row_hashes(LABELLED).tolist()]
_numbers_given = st.one_of(st.floats(-9, 9), st.integers(-3, 3), st.sampled_from([np.nan, np.inf, 1e39, 10**400, True]),
                           values)
_answers = st.one_of(
    st.lists(st.floats(-9, 9), min_size=2, max_size=2).map(lambda value: {"logits": value}),
    st.floats(0, 1).map(lambda share: {"probabilities": [share, 1 - share]}),
    st.floats(0, 1).map(lambda share: {"probabilities": {"good": share, "bad": 1 - share}}),
    st.sampled_from(["good", "bad", 0, "1", ["good"], [], ["bad", "good"]]).map(lambda value: {"label": value}))
_odd_answers = st.dictionaries(st.sampled_from(["logits", "probabilities", "label", "id", "text", "more"]),
                               st.one_of(values, st.lists(_numbers_given, max_size=3),
                                         st.dictionaries(st.sampled_from(["good", "bad"]), _numbers_given)), max_size=3)
_ids = st.one_of(st.sampled_from(_LABEL_IDS), st.sampled_from(_LABEL_IDS), st.sampled_from(["0" * 16, "x", "f" * 17]))
_label_rows = st.one_of(
    st.lists(st.sampled_from(_LABEL_IDS), unique=True, min_size=1).flatmap(
        lambda ids: st.tuples(*[_answers.map(lambda answer, id_=id_: {"id": id_, **answer}) for id_ in ids])),
    st.lists(st.builds(lambda id_, answer: {"id": id_, **answer}, _ids, st.one_of(_answers, _answers, _odd_answers)),
             max_size=5))
_jsonl_of_labels = _label_rows.map(lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode())


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


_rows_given = st.sampled_from([5, 5, 5, 4, 0])
_arrays = st.builds(lambda rows, width, kind, odd: np.full((rows, width) if width else rows, odd, kind), _rows_given,
                    st.sampled_from([2, 2, 0, 1, 3]), st.sampled_from(["<f4", "<f4", "<f2", "<i8"]),
                    st.sampled_from([0.5, 0, 1]))
_tensors = st.dictionaries(st.sampled_from(["logits", "probabilities", "labels", "more"]), _arrays, max_size=2)
label_files = st.tuples(  # (name, content) of each file beside the texts
    st.sampled_from([False, True, True]),
    st.lists(st.one_of(
        st.tuples(st.just("answers.jsonl"), st.one_of(_jsonl_of_labels, _jsonl_of_labels,
                                                      st.builds(edited, _jsonl_of_labels, edits))),
        st.tuples(st.sampled_from(["part-00000.npy", "part-00000.npy", "part-00001.npy"]),
                  st.one_of(_arrays.map(_npy), st.builds(edited, _arrays.map(_npy), edits))),
        st.tuples(st.just("part-00000.safetensors"), st.one_of(
            _tensors.map(safetensors.numpy.save), st.builds(edited, _tensors.map(safetensors.numpy.save), edits))),
        st.tuples(st.just("manifest.json"), st.one_of(
            st.sampled_from([["good", "bad"], ["bad", "good"], ["a"], None]).map(
                lambda names: json.dumps({"label_names": names}).encode()), st.binary(max_size=9)))),
        min_size=1, max_size=2))
part_of_texts = "".join(json.dumps({"id": id_, "text": "x"}) + "\n" for id_ in _LABEL_IDS).encode()
