"""The student's first embeddings from word vectors: text files, and names of PaddleNLP."""

import json

import numpy as np
import pytest
from reviews import write_reviews

from paddleslim_bilstm import compress
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.student.embeddings import check_embeddings, first_embedding, read_word_vectors

KNOWN = {"film": [1, 2, 3], "good": [-1, 0.5, 2e-1], "酒店": [4, 5, 6]}
LINES = "".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in KNOWN.items())
NAME = "glove.wiki2014-gigaword.target.word-word.dim50.en"


@pytest.fixture
def write(tmp_path):
    def write(text, name="vectors.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return str(path)
    return write


@pytest.mark.parametrize("text", [LINES, "3 3\n" + LINES, LINES.replace("\n", " \n"), LINES.replace(" ", "\t"),
                                  LINES.replace("\n", "\r\n"), LINES + "\n", LINES + "film 7 8 9\n"],
                         ids=["GloVe", "word2vec", "spaces at ends", "tabs", "CRLF", "empty line", "film twice"])
def test_glove_and_word2vec_files_give_the_vectors_of_the_words_that_they_have(write, text):
    vectors, found = read_word_vectors(write(text), ["good", "[UNK]", "酒店", "film"])
    assert found.tolist() == [True, False, True, True]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [KNOWN["good"], [0, 0, 0], KNOWN["酒店"], KNOWN["film"]])


def test_words_with_spaces_and_broken_utf8_are_passed_over(write):
    _, found = read_word_vectors(write(b"film 1 2 3\n. . . 4 5 6\n\xff\xfe 7 8 9\ngood 1 1 1\n"), ["film", "good"])
    assert found.all()


@pytest.mark.parametrize("text, message", [
    ("film 1 2 3\ngood 1 2\n", r"vectors.txt:2: has 2 numbers behind its word, not 3"),
    ("9 3\nfilm 1 2 3\n\ngood 1 2\n", r"vectors.txt:4: has 2 numbers"),
    ("film 1 2 3\ngood 1 x 3\n", "vectors.txt:2: has something other than finite numbers"),
    ("film 1 2 3\ngood 1 nan 3\n", "vectors.txt:2: has something other than finite numbers"),
    ("film good bad\n", "vectors.txt:1: has something other than finite numbers"),
    ("film\n", "vectors.txt:1: must be"),
    ("", "vectors.txt: is empty"),
    ("hotel 1 2 3\n", "vectors.txt has none of the student's 2 words"),
    (". 1 2 3\n酒店 1 2 3\n".encode("gbk"), "vectors.txt:2: is not UTF-8; save the file as UTF-8 .*GBK"),
    ("good 1 2 3\n酒店 1 2 3\n电影 1 2 3\n".encode("gbk"), "vectors.txt:2: is not UTF-8"),
])
def test_what_is_wrong_is_named_with_file_and_line(write, text, message):
    with pytest.raises(UserError, match=message) as error:
        read_word_vectors(write(text), ["film", "good"])
    assert "\n" not in str(error.value)


def test_vectors_of_the_students_width_stay_as_they_are_and_missing_ones_are_drawn_like_them(write):
    rng = np.random.default_rng(0)
    table = rng.normal(5, 0.1, (300, 8))
    source = write("".join(f"w{row} {' '.join(map(str, numbers))}\n" for row, numbers in enumerate(table)))
    words = [f"w{row}" for row in range(300)] + [f"##{row}" for row in range(200)]
    first = first_embedding(source, words, None, 8, rng)
    embedding, (note,) = first.values, first.notes
    assert first.base is None
    np.testing.assert_allclose(embedding[:300], table, rtol=1e-5)
    assert abs(embedding[300:].mean() - 5) < 0.02 and abs(embedding[300:].std() - 0.1) < 0.01
    assert "300 of the student's 500 words" in note and "projected" not in note


def test_a_word_with_two_rows_has_its_vector_in_both(write):
    first = first_embedding(write(LINES), ["film", "酒店", "##film", "film"], None, 3, np.random.default_rng(0))
    np.testing.assert_allclose(first.values[[0, 1, 3]], [KNOWN["film"], KNOWN["酒店"], KNOWN["film"]])
    assert "3 of the student's 4 words" in first.notes[0]


@pytest.mark.parametrize("embed_dim", [4, 12])
def test_vectors_of_another_width_are_projected(write, embed_dim):
    table = np.random.default_rng(0).normal(size=(50, 8))
    source = write("".join(f"w{row} {' '.join(map(str, numbers))}\n" for row, numbers in enumerate(table)))
    first = first_embedding(source, [f"w{row}" for row in range(50)], None, embed_dim, np.random.default_rng(0))
    embedding, (note,) = first.values, first.notes
    assert embedding.shape == (50, embed_dim) and "projected from 8" in note
    if embed_dim > 8:  # nothing is lost: the angles between words stay
        centred = table - table.mean(0)
        np.testing.assert_allclose(embedding @ embedding.T / np.square(embedding).sum(),
                                   centred @ centred.T / np.square(centred).sum(), atol=1e-6)


def test_paddlenlps_vectors_are_read_from_its_own_folder(tmp_path, monkeypatch):
    from paddlenlp.embeddings import token_embedding
    monkeypatch.setattr(token_embedding, "EMBEDDING_HOME", str(tmp_path))
    np.savez(tmp_path / f"{NAME}.npz", vocab=np.array(list(KNOWN)), embedding=np.array(list(KNOWN.values())))
    check_embeddings(NAME)
    vectors, found = read_word_vectors(NAME, ["film", "[UNK]", "酒店"])
    assert found.tolist() == [True, False, True]
    np.testing.assert_allclose(vectors, [KNOWN["film"], [0, 0, 0], KNOWN["酒店"]])


def test_paddlenlps_vectors_that_cant_be_downloaded_are_one_clear_line(tmp_path, monkeypatch):
    from paddle.utils import download
    from paddlenlp.embeddings import token_embedding

    def unplugged(*arguments):
        raise RuntimeError("Downloading failed.\nRetry limit reached")
    monkeypatch.setattr(token_embedding, "EMBEDDING_HOME", str(tmp_path))
    monkeypatch.setattr(download, "get_path_from_url", unplugged)
    with pytest.raises(UserError, match=f"{NAME}.*Downloading failed. Retry limit reached.*network"):
        read_word_vectors(NAME, ["film"])


def test_a_compression_starts_from_the_files_vectors(tiny_teacher, tmp_path, write):
    teacher = tiny_teacher()
    data = write_reviews(tmp_path)
    config = {"Global": {"model_dir": str(teacher), "train_file": str(data / "train.tsv"),
                         "dev_file": str(data / "dev.tsv"), "save_dir": str(tmp_path / "out"),
                         "cache_dir": str(tiny_teacher.seed(tmp_path / "cache", teacher)), "max_seq_length": 32},
              "bert_to_bilstm": {"student": {"embed_dim": 3, "hidden_size": 8, "dropout": 0,
                                             "embeddings": write(LINES)}},
              "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"train_iter": 2, "learning_rate": 1e-6}}
    with pytest.raises(UserError, match="bert_to_bilstm.student.embeddings: glove.txt"):
        compress({**config, "bert_to_bilstm": {"student": {"embeddings": "glove.txt"}}})
    compress(config)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("has vectors for 2 of the student's" in note for note in report["notes"])
    from paddleslim_bilstm.student.weights import load_student
    from paddleslim_bilstm.tokens import load_tokenizer
    weights, _ = load_student(tmp_path / "out")
    film = weights["token_map"][load_tokenizer(tmp_path / "out").vocab.index("film")]
    np.testing.assert_allclose(weights["embedding"][film], KNOWN["film"], atol=1e-4)
