"""A Python function as the teacher, and a tokenizer made of the training text."""

from __future__ import annotations

import importlib
import re
import sys
import types
from functools import lru_cache, partial, update_wrapper
from xmlrpc.client import ServerProxy

import numpy as np
import paddle
import pytest
from numpy import exp, mean

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.teacher import label
from paddleslim_bilstm.teacher.given import TEXTS_PER_CALL, FunctionTeacher
from paddleslim_bilstm.tokens import load_tokenizer
from paddleslim_bilstm.tokens.word_level import write_word_tokenizer

TEXTS = [f"a film number {number}" for number in range(600)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    write_word_tokenizer(TEXTS, 1, folder)
    return load_tokenizer(folder)


def lengths(texts):
    return [[len(text), -len(text)] for text in texts]


def test_words_are_cut_as_bert_cuts_them_and_the_same_each_time(tmp_path):
    texts = ["The FILM, isn't it?", "the film 很好。", "Café", "cafe very"]
    for folder in ("one", "other"):
        write_word_tokenizer(texts, 2, tmp_path / folder)
    assert (tmp_path / "one/tokenizer.json").read_bytes() == (tmp_path / "other/tokenizer.json").read_bytes()
    write_word_tokenizer([("the film", "it"), ("good", "the film")], 2, tmp_path / "pairs")
    assert load_tokenizer(tmp_path / "pairs").vocab[5:] == ["film", "the"]
    tokenizer = load_tokenizer(tmp_path / "one")
    assert sorted(tokenizer.vocab) == sorted(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "cafe"])
    ids = tokenizer.encode(["The café[MASK] film很!"])
    assert [tokenizer.vocab[token] for token in ids[0]] == ["the", "cafe", "[MASK]", "film", "[UNK]", "[UNK]"]
    assert ids.word_starts.all()
    with pytest.raises(UserError, match="min_count: no word of the training text occurs 9 times; .*tokenizer_dir"):
        write_word_tokenizer(texts, 9, tmp_path / "none")


def test_a_killed_run_asks_for_no_text_twice(tokenizer, tmp_path):
    asked = []

    def teacher(texts):
        assert 0 < len(texts) <= TEXTS_PER_CALL
        asked.extend(texts)
        if len(asked) == 512:
            raise ConnectionError("no answer")
        return lengths(texts)

    sentences = tokenizer.encode(TEXTS)
    with pytest.raises(UserError, match=r"function fails on 256 texts, the first 'a film number 256' \(Connection"):
        label(FunctionTeacher.of(teacher, tokenizer, ("a", "b")), sentences, tmp_path, "key", 1)
    labels = label(FunctionTeacher.of(teacher, tokenizer, ("a", "b")), sentences, tmp_path, "key", 1)
    assert len(asked) == 600 + 256 and sorted(set(asked)) == sorted(TEXTS)  # the call that failed is made again
    assert labels.logits.tolist() == lengths(TEXTS) and labels.precision == "fp32"
    label(FunctionTeacher.of(teacher, tokenizer, ("a", "b")), sentences, tmp_path, "key", 1)
    assert len(asked) == 600 + 256


def test_more_texts_behind_those_that_were_asked_are_all_that_is_asked(tokenizer, tmp_path):
    asked = []
    teacher = FunctionTeacher.of(lambda texts: [asked.append(text) or [0.5, 1] for text in texts], tokenizer, "ab")
    sentences = tokenizer.encode(TEXTS)
    label(teacher, sentences.take(np.arange(300)), tmp_path, "few", 1)
    label(teacher, sentences, tmp_path, "more", 1)
    assert asked == [*TEXTS[:300], *TEXTS[256:]]
    label(teacher.reading(sentences, list(map(str.upper, TEXTS))), sentences, tmp_path, "capitals", 1)
    assert asked[-600:] == list(map(str.upper, TEXTS))  # the same tokens, but another text


def test_the_function_reads_what_was_written_and_pairs(tokenizer):
    seen = []
    teacher = FunctionTeacher.of(lambda texts: [seen.append(text) or 0.5 for text in texts], tokenizer, ("score",))
    pairs = [("A  Film", "number 3"), ("film", "")]
    answers = teacher.reading(tokenizer.encode(pairs), pairs).logits(tokenizer.encode([*pairs, ("a film", "a")]))
    assert seen == [*pairs, ("a film", "a")] and answers.tolist() == [[0.5]] * 3


def test_an_attribute_or_the_source_tells_functions_apart(tokenizer):
    def one(texts):
        return lengths(texts)

    def print_of(function):
        return FunctionTeacher.of(function, tokenizer, ("a", "b")).fingerprint

    functions = [lengths, lambda texts: texts, lambda texts: lengths(texts), one]  # of one module
    assert len(set(map(print_of, functions))) == 4
    one.fingerprint = "v1"
    first = print_of(one)
    one.fingerprint = "v2"
    assert len({first, print_of(one), print_of(lengths)}) == 3


class Asks:
    """An object that is called, and asks a model of its module."""

    def __call__(self, texts):
        return MODEL(texts)


class Holds:
    """An object that is called, and asks what it holds."""

    def __init__(self, method):
        self.method = method

    def __call__(self, texts):
        return self.method(texts)


class Wraps:
    """A decorator with something of its own."""

    def __init__(self, function, scale):
        update_wrapper(self, function)
        self.scale = scale

    def __call__(self, texts):
        return self.scale


class Model:
    """Weights that no content tells apart."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, texts):
        return [[self.scale * len(text), 0] for text in texts]

    def answer(self, texts):
        return self(texts)


MODEL = Model()


def scaled(texts, scale=1.0, weights=None, model=len):
    return [[scale * model(text), 0] for text in texts]


def closing_over(value):
    def teacher(texts):
        return [[value, 0.0] for _ in texts]
    return teacher


def calling_a_model_of_the_module(texts):
    return MODEL(texts)


def calling_a_method(texts):
    return MODEL.answer(texts)


def calling_it_inside(texts):
    return [row for row in (MODEL(text) for text in texts)]


WORDS = re.compile("[a-z]+")


@lru_cache
def words(text):
    return len(WORDS.findall(text))


def using_a_library(texts):
    return np.exp([[words(text), exp(0.0) + mean([words(text)])] for text in texts])


SEEN = [closing_over(1), closing_over(2), closing_over("a"), closing_over((1, "a")), closing_over(np.zeros(2)),
        closing_over(np.ones(2)), closing_over(closing_over(3)), closing_over(closing_over(4)),
        partial(scaled, scale=2.0), partial(scaled, scale=3.0), partial(scaled, weights=np.ones(3)), Model(2.0),
        Model(3.0), Model(4.0).answer, scaled, partial(closing_over(1), bias=1), partial(closing_over(2), bias=1),
        Holds(Model(5.0).answer), Holds(Model(6.0).answer), closing_over(Model(5.0).answer),
        closing_over(Model(6.0).answer), closing_over(partial(scaled, scale=5.0)), using_a_library]


def test_values_that_a_function_holds_tell_it_apart(tokenizer, caplog):
    prints = [FunctionTeacher.of(function, tokenizer, ("a", "b")).fingerprint for function in SEEN]
    assert len(set(prints)) == len(SEEN) and not caplog.messages
    again = [closing_over(1), partial(scaled, weights=np.ones(3)), Model(3.0)]
    assert {FunctionTeacher.of(one, tokenizer, ("a", "b")).fingerprint for one in again} < set(prints)


@pytest.mark.parametrize(("function", "named"), [
    (closing_over(Model()), "value (Model)"), (closing_over([1]), "value (list)"),
    (partial(scaled, weights={"a": 1}), "weights (dict)"), (partial(scaled, model=Model()), "model (Model)"),
    (calling_a_model_of_the_module, "MODEL (Model)"), (calling_a_method, "MODEL (Model)"),
    (calling_it_inside, "MODEL (Model)"), (Asks(), "MODEL (Model)"),
    (partial(calling_a_model_of_the_module), "MODEL (Model)"),
    (closing_over(ServerProxy("http://localhost:1")), "value (ServerProxy)"),
    (closing_over(Wraps(len, 2)), "value (Wraps)"), (closing_over({}.get), "value (builtin_function_or_method)"),
    (closing_over(calling_a_model_of_the_module), "MODEL (Model)"),
    (closing_over(np.array([None])), "value (ndarray)"), (Model([2]), "scale (list)")])
def test_what_the_cache_cant_see_is_named_in_one_line_unless_there_is_a_fingerprint(tokenizer, caplog, function, named):
    FunctionTeacher.of(function, tokenizer, ("a", "b"))
    message, = caplog.messages
    assert f"your function holds as {named};" in message and "fingerprint" in message and "\n" not in message
    caplog.clear()
    if not isinstance(function, partial):
        function.fingerprint = "v1"
        FunctionTeacher.of(function, tokenizer, ("a", "b"))
        assert not caplog.messages
        del function.fingerprint


def test_what_other_cells_of_a_notebook_define_tells_it_apart(tokenizer, monkeypatch, tmp_path, caplog):
    prints_of_module = []

    def print_of(cells):
        module = types.ModuleType("notebook")
        monkeypatch.setitem(sys.modules, "notebook", module)
        for cell in (*cells, "def teacher(texts):\n    return [helper(text) for text in texts]\n"):
            exec(compile(cell, "<cell>", "exec"), module.__dict__)
        return FunctionTeacher.of(module.teacher, tokenizer, ("a", "b")).fingerprint
    classes = "class Scorer:\n    def score(self, text):\n        return [len(text), {}]\n\n" \
              "def helper(text):\n    return Scorer().score(text)\n"
    print_of((classes.format(1),))
    assert "Scorer (class)" in caplog.text  # whose source is not at hand
    for body in (1, 2):  # a module of the user's own
        monkeypatch.delitem(sys.modules, "own_helper", raising=False)
        (tmp_path / "own_helper.py").write_text(f"def rows(texts):\n    return [[0, {body}] for _ in texts]\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        prints_of_module.append(print_of((
            "import own_helper\ndef helper(text):\n    return own_helper.rows([text])\n",)))
    assert len(set(prints_of_module)) == 2
    helper = "def helper(text):\n    return [SCALE * len(text), {}]\n"
    prints = [print_of((f"SCALE = {scale}\n", helper.format(rest))) for scale, rest in ((1, 0), (2, 0), (1, 3), (1, 0))]
    assert len(set(prints)) == 3 and prints[0] == prints[3]


def test_a_function_stays_what_it_was_when_its_file_is_edited(tokenizer, monkeypatch, tmp_path):
    """What another process loads of the edited file must not find the labels of the old code."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    prints = []
    for body in (1, 2):
        (tmp_path / "edited_teacher.py").write_text(f"def ask(texts):\n    return [[0, {body}] for _ in texts]\n")
        module = sys.modules.get("edited_teacher") or importlib.import_module("edited_teacher")
        prints.append(FunctionTeacher.of(module.ask, tokenizer, ("a", "b")).fingerprint)
    monkeypatch.delitem(sys.modules, "edited_teacher")
    importlib.invalidate_caches()
    again = importlib.import_module("edited_teacher")
    assert again.ask([""]) == [[0, 2]]
    prints.append(FunctionTeacher.of(again.ask, tokenizer, ("a", "b")).fingerprint)
    assert prints[0] == prints[1] != prints[2]
    monkeypatch.delitem(sys.modules, "edited_teacher")


@pytest.mark.parametrize("changed", ["base.py", "scorer.py", "pkg/__init__.py", "pkg/scoring.py", "late.py",
                                     "pkg/later.py", "library/site-packages/other.py", "pkg/unused.py"])
def test_the_users_own_modules_tell_it_apart_and_libraries_do_not(tokenizer, monkeypatch, tmp_path, changed):
    """Classes and what they inherit from, modules of packages, and what is imported as the function runs."""
    files = {"base.py": "class Base:\n    scale = 1\n",
             "scorer.py": "from base import Base\n\nclass Scorer(Base):\n    pass\n",
             "pkg/__init__.py": "", "pkg/scoring.py": "def score(text): ...\n", "late.py": "", "pkg/later.py": "",
             "pkg/unused.py": "", "library/site-packages/other.py": "class Other: ...\n",
             "pkg/teacher.py": "import json\nimport pkg.scoring\nfrom scorer import Scorer\nfrom other import Other\n"
                               "def teacher(texts):\n    import late, other\n    from . import later\n"
                               "    return [pkg.scoring.score(text) * Scorer().scale for text in texts], Other\n"}
    for folder in (tmp_path, tmp_path / "library/site-packages"):
        monkeypatch.syspath_prepend(str(folder))
    prints = []
    for end in ("", "# another\n"):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content + (end if name == changed else ""))
        for name in ("pkg", "pkg.scoring", "pkg.teacher", "scorer", "base", "other"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        teacher = importlib.import_module("pkg.teacher").teacher
        prints.append(FunctionTeacher.of(teacher, tokenizer, ("a", "b")).fingerprint)
        assert not {"late", "pkg.later"} & set(sys.modules)
    assert (prints[0] == prints[1]) == (changed in ("library/site-packages/other.py", "pkg/unused.py"))


def test_a_function_may_compute_in_paddles_dynamic_mode(tokenizer):
    embedding, layer = None, None

    def teacher(texts):
        nonlocal embedding, layer
        embedding, layer = embedding or paddle.nn.Embedding(90, 4), layer or paddle.nn.Linear(4, 2)
        return layer(embedding(paddle.to_tensor([[len(text)] for text in texts])).sum(axis=1))
    paddle.enable_static()
    logits = FunctionTeacher.of(teacher, tokenizer, ("a", "b")).logits(tokenizer.encode(TEXTS[:3]))
    assert logits.shape == (3, 2) and np.isfinite(logits).all() and not paddle.in_dynamic_mode()


def test_a_function_that_holds_itself_is_looked_into_once(tokenizer):
    def teacher(texts):
        return teacher(texts[1:]) if texts else []

    def early(texts):
        return later(texts)

    first = FunctionTeacher.of(early, tokenizer, ("a", "b")).fingerprint  # "later" has no value yet
    later = teacher
    assert first != FunctionTeacher.of(early, tokenizer, ("a", "b")).fingerprint


@pytest.mark.parametrize(("answer", "message"), [
    (lambda texts: [[1, 2, 3]] * len(texts), r"the shape \[2, 3\] to 2 texts, the first 'a film .*must be \[2, 2"),
    (lambda texts: [[1, 2]], r"the shape \[1, 2\] to 2 texts"),
    (lambda texts: [1, 2], r"the shape \[2\] to 2 texts"),
    (lambda texts: [[1, 2], [float("nan"), 3]], r"answers \[nan, 3.0\] to 'a film number 1'; it must be finite"),
    (lambda texts: [[1, 2], [3]], r"answers \[\[1, 2\], \[3\]\] to 2 texts"),
    (lambda texts: None, r"shape \[\] to 2 texts|answers None"),
    (lambda texts: 1 / 0, r"fails on 2 texts, .*\(ZeroDivisionError: division by zero\)"),
])
def test_wrong_answers_name_the_text(tokenizer, answer, message):
    teacher = FunctionTeacher.of(answer, tokenizer, ("a", "b"))
    with pytest.raises(UserError, match=f"^teacher: your function .*({message})"):
        teacher.logits(tokenizer.encode(TEXTS[:2]))


def test_a_function_may_empty_its_list(tokenizer):
    def answer(texts):
        return [[len(texts), len(texts.pop())] for _ in range(len(texts))]
    teacher = FunctionTeacher.of(answer, tokenizer, ("a", "b"))
    assert teacher.logits(tokenizer.encode(TEXTS[:2]))[:, 0].tolist() == [2, 1]
