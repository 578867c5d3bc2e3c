"""A ``vocab.txt`` that PaddleNLP has written: symbols are words of their own, for the student, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddleslim_bilstm.tokens import copy_tokenizer, load_tokenizer
from paddleslim_bilstm.tokens.known_words import KnownWords

TEXTS = [
    "25℃恒温,100㎡大", "房价￥280,性价比高", "服务很好～～～早餐也不错", "①位置好②干净③便宜★★★★★", "房间😀😀😀差劲",
    "🤣👍🏽👨‍👩‍👧 ok",
    "酒店很好！，服务Ｇｏｏｄ　ＱＵＡＬＩＴＹ", "這家酒店非常不錯，推薦給大家👍",
    "WiFi很慢only 1Mbps, 100%失望...", "Café naïve 很棒",
    "", "   ", "！！！？？？", "“还可以”——（一般）《书》", "很好[MASK]不错", "a\u200bb零宽",
    "㈱①②③℃㎡", "ＡＢＣ１２３", "１８：００后到达",
    "第２次", "\x7f控制\x01字符", "don't it's 5星级 iPhone6s 4.5分", "　　全角空格　开头",
    "繁體字 臺灣 龍鳳", "𠮷野家 𪚥",
    "한국어 日本語カタカナ ひらがな が", "İstanbul ÇA", "e\u0301 é", "☆☆☆★★", "……——～·", "http://www.ctrip.com/hotel?id=1",
    "\ufeff带BOM", "\u202a方向\u202c", "[CLS]开头", "[UNK]", "很好\n换行\t制表",
    "a+b=c 5<6>4 x^2 y² mº 5µm Øre ŋ Ʊ 二〇二四〇",
    "$100 €50 £3 ¥9 A→B 1＋1＝2 ～10｜20 `x` a~b |c|", "soft\u00adhyphen \u0301\u20ac", "A\u00a0B\u2028c",
    "№5 ℡110 Ⅷ章 ½杯 3×4÷2 ±1 ≤5 ∞",
    "©2024 ™ ® ° 37°C",
    "x" * 101 + "℃", "ｶﾀｶﾅ ㍿ ㋿", "好→坏", "٣ العربية", "ไทย", "[mask] [Sep]", "a_b-c", "É\u0301"]
LETTERS = sorted({letter for text in TEXTS for letter in text.lower() if not letter.isspace()})
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "25", "##5", "100", "2", "##0", "0", "##00",
              *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789℃㎡～")]
OF_PADDLENLP = {"do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
                "cls_token": "[CLS]", "mask_token": "[MASK]", "tokenizer_class": "BertTokenizer"}
OF_TRANSFORMERS = {**OF_PADDLENLP, "name_or_path": "bert", "special_tokens_map_file": None}
VERSION = {"paddlenlp_version": None}


def write(folder: Path, **files: dict | str) -> Path:
    """Write a ``vocab.txt`` and other files: JSON, or empty; ``__`` stands for the dot in their names."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(VOCABULARY)) + "\n", encoding="utf-8")
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(json.dumps(content) if content != "" else "", encoding="utf-8")
    return folder


def cut(folder: Path, text: str) -> list[str]:
    tokenizer = load_tokenizer(folder)
    return [tokenizer.vocab[token] for token in tokenizer.encode([text])[0]]


@pytest.mark.parametrize("name", ["Bert", "Ernie", "RobertaChinese", "Electra", "TinyBert", "PPMiniLM", "NeZha",
                                  "DistilBert"])
@pytest.mark.parametrize("lower", [True, False])
def test_tokens_are_paddlenlps(tmp_path, name, lower):
    transformers = pytest.importorskip("paddlenlp.transformers")
    kind = getattr(transformers, f"{name}Tokenizer")
    kind(str(write(tmp_path) / "vocab.txt"), do_lower_case=lower).save_pretrained(str(tmp_path))
    theirs = kind.from_pretrained(str(tmp_path))  # which finds special tokens in a text, as one made new does not
    ours = load_tokenizer(tmp_path)
    for text, ids in zip(TEXTS, ours.encode(TEXTS)):
        assert ids.tolist() == theirs(text)["input_ids"][1:-1], text


@pytest.mark.parametrize("text, tokens", [
    ("25℃恒温,100㎡", ["25", "℃", "恒", "温", ",", "100", "㎡"]),
    ("😀😀好", ["😀", "😀", "好"]), ("好～～", ["好", "～", "～"]), ("￥280", ["￥", "2", "##8", "##0"]),
    ("y²a", ["y", "²", "a"]), ("二〇二", ["二", "〇", "二"]), ("a+b", ["a", "+", "b"])])
def test_symbols_stand_alone(tmp_path, text, tokens):
    assert cut(write(tmp_path, tokenizer_config__json=OF_PADDLENLP), text) == tokens


@pytest.mark.parametrize("files, symbols", [
    ({}, False), ({"tokenizer_config__json": {"do_lower_case": True}}, False),
    ({"tokenizer_config__json": OF_PADDLENLP}, True), ({"tokenizer_config__json": OF_TRANSFORMERS}, False),
    ({"tokenizer_config__json": {"tokenizer_class": "BertTokenizer"}}, False),
    ({"tokenizer_config__json": {"tokenizer_class": "ErnieTokenizer"}}, True),
    ({"tokenizer_config__json": {**OF_TRANSFORMERS, "tokenizer_class": "ErnieTokenizer"}}, True),
    ({"config__json": VERSION}, True), ({"config__json": {}}, False), ({"model_config__json": {}}, True),
    ({"config__json": {}, "model_state__pdparams": ""}, True),
    ({"config__json": {}, "model_state-00001-of-00002__pdparams": ""}, True),
    ({"config__json": {"transformers_version": "4.2"}, "model_state__pdparams": ""}, False),
    ({"config__json": {"transformers_version": "4.2", **VERSION}}, True),
    ({"config__json": {"transformers_version": "4.2"}, "tokenizer_config__json": OF_PADDLENLP}, False),
    ({"config__json": VERSION, "tokenizer_config__json": OF_TRANSFORMERS}, False),
    ({"student__json": {}, "tokenizer_config__json": OF_PADDLENLP}, False)])  # of before: so it has learned
def test_the_folder_tells_who_wrote_it(tmp_path, files, symbols):
    folder = write(tmp_path, **files)
    assert cut(folder, "25℃恒") == (["25", "℃", "恒"] if symbols else ["25", "##℃", "恒"])
    assert (type(load_tokenizer(folder).rust.pre_tokenizer).__name__ == "BertPreTokenizer") == (not symbols)


@pytest.mark.parametrize("source, target", [
    ({"config__json": VERSION}, {}), ({"model_state__pdparams": ""}, {"config__json": {"transformers_version": "4"}}),
    ({"tokenizer_config__json": OF_PADDLENLP}, {}), ({}, {"config__json": VERSION}), ({}, {})])
def test_a_copy_is_cut_alike(tmp_path, source, target):
    """That is the tokenizer of a student, and of a fine-tuned classifier whose config names PaddleNLP's version."""
    source, target = write(tmp_path / "source", **source), write(tmp_path / "target", **target)
    (target / "vocab.txt").unlink()
    copy_tokenizer(source, target)
    first, copied = load_tokenizer(source), load_tokenizer(target)
    assert copied.rust.to_str() == first.rust.to_str()
    assert [ids.tolist() for ids in copied.encode(TEXTS)] == [ids.tolist() for ids in first.encode(TEXTS)]
    assert (copied.vocab, copied.framing, copied.separators) == (first.vocab, first.framing, first.separators)
    assert (target / "tokenizer.json").is_file() == (len([*source.iterdir()]) + len([*target.iterdir()]) > 2)


def test_known_words_are_cut_alike(tmp_path, monkeypatch):
    rust = load_tokenizer(write(tmp_path, tokenizer_config__json=OF_PADDLENLP)).rust
    known, expected = KnownWords(rust), [one.ids for one in rust.encode_batch(TEXTS, add_special_tokens=False)]
    for _ in range(2):
        assert known.ids(TEXTS) == expected
    known.ids(["a+b c$d ok"])
    monkeypatch.setattr(known, "_encode", None)
    assert known.ids(["d$c ok+a"]) == [one.ids for one in rust.encode_batch(["d$c ok+a"], add_special_tokens=False)]
