"""Labels from elsewhere: the texts that are written, the answers that are read, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from paddleslim_bilstm.augment import TransferSet
from paddleslim_bilstm.augment.words import row_hashes
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.storage import read_json
from paddleslim_bilstm.task import CLASSIFICATION, MULTI_LABEL, REGRESSION, softmax
from paddleslim_bilstm.teacher import label_files, texts_to_label
from paddleslim_bilstm.teacher.given import GivenLabels
from paddleslim_bilstm.teacher.label_files import read_answers
from paddleslim_bilstm.teacher.spelling import Speller
from paddleslim_bilstm.teacher.texts_to_label import _readme, id_of, tokenizer_beside, write_texts
from paddleslim_bilstm.tokens import load_tokenizer

NAMES = ["bad", "good"]
TEXTS = ["a good film", "a bad film", "The PLOT", "dull", "so so"]


@pytest.fixture(scope="module")
def tokenizer(tiny_teacher):
    return load_tokenizer(tiny_teacher())


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    for module in (texts_to_label, label_files):
        monkeypatch.setattr(module, "PART_ROWS", 2)
    monkeypatch.setattr(label_files, "_ROWS_PER_ARRAY", 2)


def transfer_set(tokenizer, texts):
    sentences = tokenizer.encode(texts)
    return TransferSet(sentences, np.arange(len(sentences), dtype=np.int32), {"originals": len(sentences)}, "key")


def written(tokenizer, folder, texts=TEXTS, dev=(), **options) -> Path:
    transfer = transfer_set(tokenizer, texts)
    dev_sentences = tokenizer.encode(list(dev) or texts)
    speller = Speller(tokenizer).knowing(transfer.sentences, texts).knowing(dev_sentences, list(dev) or texts)
    write_texts(folder, transfer, dev_sentences, speller, CLASSIFICATION, NAMES, **options)
    return folder


def rows_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def ids_of(tokenizer, texts=TEXTS) -> list[str]:
    return [id_of(hash_) for hash_ in row_hashes(tokenizer.encode(texts)).tolist()]


def write_rows(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def logits_of(tokenizer, *paths, task=CLASSIFICATION, names=NAMES, texts=TEXTS):
    table = read_answers([str(path) for path in paths], task).table(names)
    return table.logits_of(tokenizer.encode(texts))


def test_the_texts_are_written_in_parts_with_ids_and_what_to_give_back(tokenizer, tmp_path):
    folder = written(tokenizer, tmp_path / "texts", dev=["the film", "DULL", "the film", "the plot is bad"])
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md", "dev.jsonl", "manifest.json", "part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl"]
    parts = [rows_of(folder / f"part-0000{part}.jsonl") for part in range(3)]
    assert [len(rows) for rows in parts] == [2, 2, 1]
    assert [row["text"] for rows in parts for row in rows] == TEXTS and list(parts[0][0]) == ["id", "text"]
    assert [row["id"] for rows in parts for row in rows] == ids_of(tokenizer)
    assert [row["text"] for row in rows_of(folder / "dev.jsonl")] == ["the film", "the plot is bad"]  # dull is asked
    manifest = read_json(folder / "manifest.json", "")
    assert manifest["label_names"] == NAMES and manifest["texts"]["dev.jsonl"] == 2
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "5 texts" in readme and "2 numbers (bad, good)" in readme and "[MASK]" in readme


def test_pairs_and_tokens_are_written(tokenizer, tmp_path):
    pairs = [("a film", "The plot"), ("dull", "")]
    folder = written(tokenizer, tmp_path / "texts", pairs, tokens=True)
    first, second = rows_of(folder / "part-00000.jsonl")
    assert (first["text_a"], first["text_b"]) == pairs[0] and second["text_b"] == ""
    assert first["input_ids"] == [list(side) for side in tokenizer.encode(pairs).to_lists()[0]]
    assert not (folder / "dev.jsonl").exists() and first["id"] == ids_of(tokenizer, pairs)[0]
    write_rows(tmp_path / "answers.jsonl", [{"id": second["id"], "logits": [1, 2]}])
    assert np.isnan(logits_of(tokenizer, tmp_path / "answers.jsonl", texts=pairs)).tolist() == [[True] * 2, [False] * 2]


def test_labels_that_came_back_are_not_written_over(tokenizer, tmp_path):
    folder = written(tokenizer, tmp_path / "texts")
    written(tokenizer, folder, TEXTS[:2])
    assert not (folder / "part-00001.jsonl").exists()
    (folder / "part-00000.npy").write_bytes(b"labels")
    with pytest.raises(UserError, match="--output: .*texts holds part-00000.npy, which augment has not written"):
        written(tokenizer, folder)
    assert (folder / "part-00000.npy").read_bytes() == b"labels"


def test_the_tokenizer_lies_beside_the_texts(tokenizer, tmp_path, tiny_teacher):
    source = tiny_teacher("huggingface")
    folder = written(tokenizer, tmp_path / "texts", tokenizer_dir=source)
    assert sorted(file.name for file in (folder / "tokenizer").iterdir()) == ["tokenizer_config.json", "vocab.txt"]
    assert "`tokenizer_dir: FOLDER/tokenizer`" in (folder / "README.md").read_text(encoding="utf-8")
    assert tokenizer_beside(["nowhere", str(folder / "part-00000.jsonl")]) == folder / "tokenizer"
    write_rows(folder / "part-00000.jsonl", [{"id": ids_of(tokenizer)[0], "logits": [1, 2]}])
    assert read_answers([str(folder)], CLASSIFICATION).outputs == 2    # its files are no answers
    (folder / "tokenizer" / "notes.txt").touch()
    with pytest.raises(UserError, match="--output: .*texts holds tokenizer/notes.txt, which augment has not written"):
        written(tokenizer, folder)
    (folder / "tokenizer" / "notes.txt").unlink()
    assert tokenizer_beside([str(written(tokenizer, folder))]) is None and not (folder / "tokenizer").exists()
    written(tokenizer, folder, tokenizer_dir=source)
    (folder / "tokenizer" / "vocab.txt").unlink()
    with pytest.raises(UserError, match="manifest.json: .* whose folder tokenizer is not beside it; copy it there"):
        tokenizer_beside([str(folder)])


def test_logits_come_in_any_order_and_in_parts(tokenizer, tmp_path):
    expected = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    rows = [{"id": id_, "logits": values, "text": "x"} for id_, values in zip(ids_of(tokenizer), expected.tolist())]
    random.Random(1).shuffle(rows)
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    write_rows(one, rows[:3])
    write_rows(other, [*rows[2:], {"id": ids_of(tokenizer, ["love"])[0], "label": None}])
    np.testing.assert_array_equal(logits_of(tokenizer, one, other), expected)
    np.testing.assert_array_equal(logits_of(tokenizer, tmp_path), expected)
    prints = {GivenLabels.of(read_answers(paths, CLASSIFICATION), tokenizer, NAMES).fingerprint
              for paths in ([str(one), str(other)], [str(other), str(one)], [str(tmp_path)])}
    assert len(prints) == 1


@pytest.mark.parametrize("form", ["npy", "safetensors", "probabilities", "labels"])
def test_arrays_answer_the_part_beside_them(tokenizer, tmp_path, form):
    folder = written(tokenizer, tmp_path / "texts")
    expected = np.array([[0.5, -0.5], [-1, 1], [2, -2], [0.25, -0.25], [-0.125, 0.125]])
    for part in range(3):
        values, path = expected[2 * part:2 * part + 2], folder / f"part-0000{part}"
        if form == "npy":
            np.save(path.with_suffix(".npy"), values.astype(np.float16))
            continue
        tensor = {"safetensors": {"logits": values.astype(np.float32), "more": values},
                  "probabilities": {"probabilities": softmax(values).astype(np.float64)},
                  "labels": {"labels": values.argmax(axis=1)}}[form]
        path.with_suffix(".safetensors").write_bytes(safetensors.numpy.save(tensor))
    found = logits_of(tokenizer, folder)
    if form == "labels":
        assert softmax(found).max(axis=1) == pytest.approx(np.full(5, 0.95))
        np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    else:
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_probabilities_and_labels_become_logits_and_it_is_told(tokenizer, tmp_path):
    rows = [{"probabilities": {"good": 0.8, "bad": 0.2}}, {"probabilities": {"good": 0.99, "bad": 0.02}},
            {"probabilities": {"bad": 1, "good": 0}}, {"label": "Good"}, {"label": 0}]
    file = write_rows(tmp_path / "answers.jsonl", [{"id": id_, **row} for id_, row in zip(ids_of(tokenizer), rows)])
    answers = read_answers([file], CLASSIFICATION)
    assert answers.outputs == 2 and answers.label_names == ("bad", "good")  # as labels are ordered, not as in a row
    table = answers.table(answers.label_names)
    found = softmax(table.logits_of(tokenizer.encode(TEXTS)))
    assert found[:, 1] == pytest.approx([0.8, 0.99 / 1.01, 1e-4, 0.95, 0.05], rel=1e-3)  # 0 is the class bad
    assert [note[:31] for note in table.notes] == ["3 answers came as probabilities", "2 answers came as labels and be"]
    assert table.notes[1].endswith("of a 95% certain teacher.")


@pytest.mark.parametrize("names", [("1", "0", "10"), ("0", "10", "1")])
def test_the_order_of_names_in_a_row_says_nothing(names, tokenizer, tmp_path):
    logits = {"0": 3.0, "1": 1.0, "10": 2.0}
    row = {"id": ids_of(tokenizer)[0], "logits": {name: logits[name] for name in names}}
    answers = read_answers([write_rows(tmp_path / "answers.jsonl", [row])], CLASSIFICATION)
    assert answers.label_names == ("0", "1", "10")
    assert answers.table(answers.label_names).logits.tolist() == [[3, 1, 2]]


def test_names_in_rows_that_are_not_the_datas_are_refused(tokenizer, tmp_path):
    file = write_rows(tmp_path / "answers.jsonl", [{"id": ids_of(tokenizer)[0], "logits": {"pos": 2, "neg": -2}}])
    answers = read_answers([file], CLASSIFICATION)
    answers.check_classes(["Neg", "pos"])
    with pytest.raises(UserError, match="jsonl:1: names the classes neg, pos, and the data has the labels 0, 1;"):
        answers.check_classes(["1", "0", "1"])
    (tmp_path / "manifest.json").write_text(json.dumps({"label_names": ["neg", "pos"]}))
    read_answers([file], CLASSIFICATION).check_classes(["1", "0", "1"])


def test_what_is_asked_for_is_what_the_task_takes(tokenizer, tmp_path):
    for task, names, probabilities, label in ((CLASSIFICATION, NAMES, True, "the name of a class"),
                                              (REGRESSION, ["score"], False, "a number"),
                                              (MULTI_LABEL, NAMES, True, "the names of its labels as a list, [")):
        readme = _readme({"part-00000.jsonl": 1}, task, names, "{}", SimpleNamespace(tokenizer=tokenizer))
        assert ("- `\"probabilities\"" in readme) == probabilities and f'- `"label": ...`, {label}' in readme


def test_a_regressions_answers_are_numbers(tokenizer, tmp_path):
    ids = ids_of(tokenizer)
    file = write_rows(tmp_path / "answers.jsonl", [{"id": ids[0], "logits": [2.5]}, {"id": ids[1], "logits": -1},
                                                   {"id": ids[2], "label": 0.75}, {"id": ids[3], "label": "1e-3"}])
    found = logits_of(tokenizer, file, task=REGRESSION, names=("score",))
    assert found[:4, 0] == pytest.approx([2.5, -1, 0.75, 0.001]) and np.isnan(found[4]).all()
    assert read_answers([file], REGRESSION).table(("score",)).notes == ()


def test_answers_of_several_labels_a_text(tokenizer, tmp_path):
    rows = [{"probabilities": [0.9, 0.5]}, {"label": ["good"]}, {"label": []}, {"label": "good,bad"}]
    rows = [{"id": id_, **row} for id_, row in zip(ids_of(tokenizer), rows)]
    found = logits_of(tokenizer, write_rows(tmp_path / "answers.jsonl", rows), task=MULTI_LABEL)
    nine = np.log(9)
    np.testing.assert_allclose(found[:4], [[nine, 0], [-nine, nine], [-nine, -nine], [nine, nine]], atol=1e-6)
    for wrong, message in (({"label": ["great"]}, "the labels great are none of"), ({"label": [0, 0, 1]}, "one twice"),
                           ({"probabilities": [0.5, 1.5]}, "from 0 to 1")):
        row = {"id": ids_of(tokenizer)[0], **wrong}
        with pytest.raises(UserError, match=f"answers.jsonl:1: .*{message}"):
            logits_of(tokenizer, write_rows(tmp_path / "answers.jsonl", [row]), task=MULTI_LABEL)


def test_the_manifest_names_the_columns(tokenizer, tmp_path):
    write_rows(tmp_path / "answers.jsonl", [{"id": ids_of(tokenizer)[0], "logits": [1, 2]}])
    (tmp_path / "manifest.json").write_text(json.dumps({"label_names": ["good", "bad"]}))
    assert read_answers([str(tmp_path)], CLASSIFICATION).label_names == ("good", "bad")
    write_rows(tmp_path / "named.jsonl", [{"id": ids_of(tokenizer)[1], "logits": {"bad": 1, "good": 2}}])
    np.testing.assert_array_equal(logits_of(tokenizer, tmp_path, names=("good", "bad"))[:2], [[1, 2], [2, 1]])


GOOD = {"logits": [1, 2]}
WRONG = [  # rows of a file, what the message says
    ([GOOD, {"logits": [1, 2, 3]}], "answers.jsonl:2: has 3 numbers where .*answers.jsonl:1 has 2"),
    ([GOOD, {"logits": [1, float("nan")]}], "answers.jsonl:2: the logits are 1, nan; they must be finite"),
    ([GOOD, {"logits": [1, 1e39]}], "answers.jsonl:2: the logits are 1, 1e.39; they must be finite"),
    ([GOOD, {"logits": [1, 10**400]}], "answers.jsonl:2: logits is .* must be a list of numbers"),
    ([GOOD, {"logits": [True, 2]}], "answers.jsonl:2: logits is .* must be a list of numbers"),
    ([GOOD, {"logits": "1, 2"}], "answers.jsonl:2: logits is .* must be a list of numbers"),
    ([GOOD, {"logits": []}], "answers.jsonl:2: logits is .* must be a list of numbers"),
    ([GOOD, {"probabilities": [0.2, 1.3]}], "answers.jsonl:2: the probabilities are 0.2, 1.3; .*from 0 to 1"),
    ([GOOD, {"probabilities": [0.2, 0.2]}], "answers.jsonl:2: the probabilities are 0.2, 0.2; .*sum to 1"),
    ([GOOD, {"label": "great"}], "answers.jsonl:2: the labels great are none of .*bad, good"),
    ([GOOD, {"label": 7}], "answers.jsonl:2: the labels 7 are none of"),
    ([GOOD, {"label": ["good"]}], r"answers.jsonl:2: the label is \['good'\]; it must be"),
    ([GOOD, {"label": " "}], "answers.jsonl:2: has no label"),
    ([GOOD, {"logit": [1, 2]}], "answers.jsonl:2: has logit beside its id; an answer is called logits, prob"),
    ([GOOD, {"id": 12, **GOOD}], "answers.jsonl:2: the id is 12; it must be the 16 hex digits"),
    ([GOOD, {"id": "-123456789012345", **GOOD}], "answers.jsonl:2: the id is .* must be the 16 hex digits"),
    ([GOOD, {"probabilities": {"bad": 1, "good": 0}}, {"probabilities": {"bad": 1}}],
     "answers.jsonl:3: names the outputs bad where .*answers.jsonl:2 names bad, good"),
    ([GOOD, {"logits": {"good": 2, "bad": 1}}],
     "answers.jsonl:1: has bare numbers where .*answers.jsonl:2 has them by name; name them in every row, or give"),
    ([{"text": "x"}, {"label": None}], "teacher_labels: .*answers.jsonl holds no answer; .*logits, prob"),
]


@pytest.mark.parametrize(("rows", "message"), WRONG, ids=lambda value: value[20:60] if isinstance(value, str) else "")
def test_wrong_answers_are_refused_with_their_line(tokenizer, tmp_path, rows, message):
    rows = [{"id": id_, **row} for id_, row in zip(ids_of(tokenizer), rows)]
    with pytest.raises(UserError, match=message):
        logits_of(tokenizer, write_rows(tmp_path / "answers.jsonl", rows))


def test_lines_that_are_cut_off_are_refused(tokenizer, tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"id": "0123456789abcdef", "logits": [1, 2]}\n{"id": "0123456789abcd')
    with pytest.raises(UserError, match="answers.jsonl:2: is no valid JSON"):
        read_answers([str(tmp_path / "answers.jsonl")], CLASSIFICATION)


def test_two_answers_to_a_text_must_be_the_same(tokenizer, tmp_path):
    first, second = ids_of(tokenizer)[:2]
    rows = [{"id": first, **GOOD}, {"id": second, **GOOD}, {"id": first, **GOOD}]
    assert np.isfinite(logits_of(tokenizer, write_rows(tmp_path / "a.jsonl", rows))).sum() == 4
    rows[2] = {"id": first, "logits": [1, 2.5]}
    with pytest.raises(UserError, match=f"a.jsonl:3: answers the id {first} otherwise than .*a.jsonl:1 does"):
        logits_of(tokenizer, write_rows(tmp_path / "a.jsonl", rows))


def test_arrays_that_fit_no_part_are_refused(tokenizer, tmp_path):
    folder = written(tokenizer, tmp_path / "texts")

    def refused(message, name="part-00000.npy", **content):
        if content:
            (folder / name).write_bytes(safetensors.numpy.save(content))
        with pytest.raises(UserError, match=message):
            read_answers([str(folder / name)], CLASSIFICATION)

    np.save(folder / "part-00000.npy", np.zeros((3, 2), np.float32))
    refused("part-00000.npy: has 3 rows where part-00000.jsonl has 2")
    np.save(folder / "part-00000.npy", np.array([[0, 1], [0, np.nan]]))
    refused(r"part-00000.npy\[1\]: the logits are 0, nan")
    np.save(folder / "part-00000.npy", np.array([["a", "b"]]))
    refused("part-00000.npy: logits has the shape .* float numbers")
    np.save(folder / "part-00000.npy", np.array([{}, {}]), allow_pickle=True)
    refused("part-00000.npy: can't be read")
    np.save(folder / "part-00007.npy", np.zeros((2, 2)))
    refused("part-00007.npy: which texts it answers part-00007.jsonl would tell", "part-00007.npy")
    refused("part-00000.safetensors: holds scores; one tensor must be called", "part-00000.safetensors",
            scores=np.zeros((2, 2)))
    refused("part-00000.safetensors: labels has the shape", "part-00000.safetensors", labels=np.zeros((2, 2)))
    (folder / "part-00000.safetensors").write_bytes(b"\x10")
    refused("part-00000.safetensors: can't be read", "part-00000.safetensors")


def test_paths_that_hold_no_labels_are_refused(tokenizer, tmp_path):
    for path, message in ((tmp_path / "absent", "neither a file nor a folder"), (tmp_path, "holds no .jsonl"),
                          (Path(__file__), "has the suffix .py")):
        with pytest.raises(UserError, match=f"^Global.teacher_labels: .*{message}"):
            read_answers([str(path)], CLASSIFICATION)
    write_rows(tmp_path / "answers.jsonl", [{"id": ids_of(tokenizer)[0], "logits": [1.0]}])
    with pytest.raises(UserError, match="Global.task: is classification, but the teacher has 1 output"):
        read_answers([str(tmp_path)], CLASSIFICATION)
    for content, message in (("[", "is no JSON"), ('{"label_names": 3}', "must be a list of names"),
                             ('{"label_names": ["a", "a"]}', "all different"),
                             ('{"label_names": ["a", "b"]}', "jsonl:1: has 1 numbers where .*manifest.json has 2")):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(UserError, match=message):
            read_answers([str(tmp_path)], CLASSIFICATION)


def test_texts_without_an_answer_are_left_out_and_told_by_their_parts(tokenizer, tmp_path):
    transfer, dev = transfer_set(tokenizer, TEXTS), tokenizer.encode(["the film"])
    ids = ids_of(tokenizer)
    file = write_rows(tmp_path / "a.jsonl", [{"id": ids[3], "logits": [1, 2]}, {"id": ids[0], "logits": [3, 4]}])
    teacher = GivenLabels.of(read_answers([file], CLASSIFICATION), tokenizer, NAMES)
    answered, notes = teacher.answered(transfer, dev)
    assert answered.source.tolist() == [0, 3] and answered.counts["without an answer"] == 3 and answered.key != "key"
    assert teacher.logits(answered.sentences).tolist() == [[3, 4], [1, 2]]
    assert notes == ("3 of the 5 texts of the transfer set have no answer and are left out: 1 of part-00000.jsonl, "
                     "1 of part-00001.jsonl, 1 of part-00002.jsonl.",)


def test_labels_of_another_run_are_refused(tokenizer, tmp_path):
    transfer, dev = transfer_set(tokenizer, TEXTS), tokenizer.encode(["the film"])

    def answered(*texts):
        rows = [{"id": id_, **GOOD} for id_ in ids_of(tokenizer, list(texts))]
        file = write_rows(tmp_path / "a.jsonl", rows)
        return GivenLabels.of(read_answers([file], CLASSIFICATION), tokenizer, NAMES).answered(transfer, dev)

    answered(*TEXTS, "the film")
    with pytest.raises(UserError, match=r"a.jsonl:2: the id \w{16} is of no text .* \(nor are 1 others of 4\).*"):
        answered("dull", "love", "hate", "so so")
    with pytest.raises(UserError, match="a.jsonl:1: the id .* of this run, nor is any other; these labels belong to"):
        answered("love", "hate")
    with pytest.raises(UserError, match="answers no text of the transfer set"):
        answered("the film")
