"""``DataAugmentation`` by itself, over every kind of loader that PaddleSlim takes."""

import logging
import shutil

import numpy as np
import paddle
import pytest
from reviews import make_reviews
from test_teacher_load import export, masked_network

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.host.data_hook import augmented_loader, loader_batches, read_loader, static_loader
from paddleslim_bilstm.task import CLASSIFICATION
from paddleslim_bilstm.tokens import BERT_FEEDS, Feed, Framing, load_tokenizer

pytestmark = pytest.mark.usefixtures("in_old_programs")

MASKED = (Feed("x0", "ids"), Feed("x1", "mask"), Feed("x2", "types"))
EVERYTHING = {"DataAugmentation": {"hooks": [{"masking": {"p_mask": 0.3}}, {"crossover": {"p_cross": 1.0}}]},
              "QuantAware": None}
TEXTS = [text for text, _ in make_reviews(40, seed=3)]


@pytest.fixture(scope="module")
def plain(tiny_teacher):
    return tiny_teacher("exported")


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    paddle.enable_static()
    return export(tmp_path_factory.mktemp("masked") / "teacher", masked_network())


def framed(folder, feeds, width=None):
    tokenizer = load_tokenizer(folder)
    return Framing.of(tokenizer, feeds, width), tokenizer.encode(TEXTS)


def batches_of(folder, feeds, width=None):
    """Batches of 8 as dicts by feed name."""
    framing, sentences = framed(folder, feeds, width)
    names = [feed.name for feed in feeds]
    return [dict(zip(names, framing.batch(sentences, np.arange(start, start + 8)))) for start in range(0, 40, 8)]


def data_loader(folder, feeds):
    """A ``paddle.io.DataLoader`` as in PaddleSlim's examples."""
    framing, sentences = framed(folder, feeds)
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        variables = [paddle.static.data(feed.name, [-1, -1], feed.dtype) for feed in feeds]
    return paddle.io.DataLoader(list(range(40)), feed_list=variables, batch_size=8, return_list=False,
                                places=paddle.CPUPlace(),
                                collate_fn=lambda rows: framing.batch(sentences, np.array(rows)))


def loader_of_tensors(folder, feeds):
    """As PaddleNLP's scripts make it, in dynamic mode: the usual ``DataCollatorWithPadding`` returns tensors."""
    framing, sentences = framed(folder, feeds)
    names = [feed.name for feed in feeds]
    paddle.disable_static()
    try:
        return paddle.io.DataLoader(list(range(40)), batch_size=8, collate_fn=lambda rows: dict(
            zip(names, map(paddle.to_tensor, framing.batch(sentences, np.array(rows))))))
    finally:
        paddle.enable_static()


FORMS = {
    "dicts": lambda folder, feeds: lambda: iter(batches_of(folder, feeds)),
    "lists with a dict": lambda folder, feeds: lambda: ([one] for one in batches_of(folder, feeds)),
    "tuples": lambda folder, feeds: lambda: (tuple(one.values()) for one in batches_of(folder, feeds)),
    "a data loader": data_loader,
    "a data loader of tensors": lambda folder, feeds: static_loader(loader_of_tensors(folder, feeds)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["plain", "masked"])
def test_batches_keep_their_shape_and_their_masks_fit(request, kind, form):
    folder, feeds = request.getfixturevalue(kind), {"plain": BERT_FEEDS, "masked": MASKED}[kind]
    loader = augmented_loader(EVERYTHING, {"model_dir": str(folder), "train_dataloader": FORMS[form](folder, feeds)})
    before, first, second = batches_of(folder, feeds), list(loader()), list(loader())
    framing, tokenizer = Framing.of(load_tokenizer(folder), feeds), load_tokenizer(folder)
    ids = framing.ids_name
    assert len(first) == len(before)
    for batch, original in zip(first, before):
        assert {name: array.shape for name, array in batch.items()} == {
            name: array.shape for name, array in original.items()}
        assert all(batch[name].dtype == original[name].dtype for name in original)
        assert (batch[ids][:, 0] == tokenizer.cls_id).all()
        used = batch[ids] != tokenizer.pad_id
        assert ((batch[ids] == tokenizer.sep_id).sum(axis=1) == 1).all()
        assert (np.diff(used.astype(int), axis=1) <= 0).all()  # padding behind the sentence
        if kind == "masked":
            np.testing.assert_array_equal(batch["x1"], used)
            assert not batch["x2"].any()
    changed = [np.mean((one[ids] != other[ids]).any(axis=1)) for one, other in ((first[0], before[0]),
                                                                               (first[0], second[0]))]
    assert min(changed) > 0.7  # from what it was, and from epoch to epoch


def test_the_tokenizer_and_the_seed_are_those_of_the_section_global(plain, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for file in plain.glob("inference.*"):
        shutil.copyfile(file, model / file.name)
    arguments = {"model_dir": str(model), "train_dataloader": FORMS["dicts"](plain, BERT_FEEDS)}

    def first(**settings):
        loader = augmented_loader({"Global": {"tokenizer_dir": str(plain), **settings}, **EVERYTHING}, arguments)
        return next(loader())["input_ids"].tolist()
    with pytest.raises(UserError, match="Global.tokenizer_dir"):
        augmented_loader(EVERYTHING, arguments)
    assert first() == first(seed=0) != first(seed=1)


def test_a_loader_of_tensors_is_read_in_dynamic_mode(plain):
    loader, (framing, sentences) = loader_of_tensors(plain, BERT_FEEDS), framed(plain, BERT_FEEDS)
    found, _ = read_loader(loader, load_tokenizer(plain), framing)
    assert sorted(map(tuple, found.to_lists())) == sorted(set(map(tuple, sentences.to_lists())))
    assert not paddle.in_dynamic_mode()

    def batches():  # nothing tells how to read it
        yield from loader
    with pytest.raises(UserError, match="^train_dataloader: it yields no batch; .* return_tensors=\"np\""):
        read_loader(batches, load_tokenizer(plain), framing)


def test_only_a_loader_of_tensors_is_kept_in_memory(plain):
    framing, sentences = framed(plain, BERT_FEEDS)
    arrays = paddle.io.DataLoader(list(range(40)), batch_size=8, collate_fn=lambda rows: dict(zip(
        ("input_ids", "token_type_ids"), framing.batch(sentences, np.array(rows)))))
    assert static_loader(arrays) is arrays and static_loader(batches_of) is batches_of
    kept = static_loader(loader_of_tensors(plain, BERT_FEEDS))
    for one, other in zip(kept(), arrays):
        np.testing.assert_array_equal(one["input_ids"], other["input_ids"])


def test_a_loader_of_tensors_that_is_refused_leaves_the_mode_as_it_was(plain):
    framing, _ = framed(plain, BERT_FEEDS)
    with pytest.raises(UserError, match="a batch has x0, x1, x2, but no 'input_ids'"):
        read_loader(loader_of_tensors(plain, MASKED), load_tokenizer(plain), framing)
    assert not paddle.in_dynamic_mode()


def test_an_array_by_itself_is_a_batch():
    ids = np.array([[2, 5, 6, 3], [2, 7, 8, 3]])
    batch, = loader_batches([ids], BERT_FEEDS[:1])
    np.testing.assert_array_equal(batch["input_ids"], ids)
    with pytest.raises(UserError, match="a batch has 1 arrays"):
        next(loader_batches([ids], BERT_FEEDS))


def test_a_fixed_width_and_the_labels_stay(masked):
    def loader():
        for number, batch in enumerate(batches_of(masked, MASKED, width=64)):
            yield {**batch, "labels": np.full(8, number)}

    found = list(augmented_loader(EVERYTHING, {"model_dir": str(masked), "train_dataloader": loader})())
    assert [batch["x0"].shape for batch in found] == [(8, 64)] * 5
    assert [set(batch["labels"].tolist()) for batch in found] == [{number} for number in range(5)]


def test_pairs_stay_pairs(plain):
    framing, sentences = framed(plain, BERT_FEEDS)
    pairs = type(sentences).from_sides(sentences)

    def loader():
        for start in range(0, 20, 5):
            yield dict(zip(("input_ids", "token_type_ids"), framing.batch(pairs, np.arange(start, start + 5))))

    for batch, original in zip(augmented_loader(EVERYTHING, {"model_dir": str(plain), "train_dataloader": loader})(),
                               loader()):
        assert batch["input_ids"].shape == original["input_ids"].shape
        assert all(second for _, second in framing.contents(batch))
        assert ((batch["input_ids"] == framing.sep_id).sum(axis=1) == 2).all()


def test_rows_that_were_not_seen_before_pass_as_they_are(plain):
    calls = []

    def loader():
        calls.append(1)
        batches = batches_of(plain, BERT_FEEDS)
        return iter(batches[:4] if len(calls) == 1 else batches[3:])

    found = list(augmented_loader(EVERYTHING, {"model_dir": str(plain), "train_dataloader": loader})())
    known, unknown = batches_of(plain, BERT_FEEDS)[3:]
    np.testing.assert_array_equal(found[1]["input_ids"], unknown["input_ids"])
    assert (found[0]["input_ids"] != known["input_ids"]).any()


def test_one_line_says_what_is_changed(plain, caplog):
    caplog.set_level(logging.INFO, "paddleslim_bilstm")
    augmented_loader(EVERYTHING, {"model_dir": str(plain), "train_dataloader": FORMS["dicts"](plain, BERT_FEEDS)})
    line, = [record.getMessage() for record in caplog.records if "DataAugmentation" in record.getMessage()]
    assert "masking, crossover" in line and "sentences" in line


@pytest.mark.parametrize("sections, message", [
    ({"QuantPost": None}, "nothing here trains.*QuantPost only calibrates"), ({}, "nothing here trains")])
def test_a_hook_that_would_do_nothing_is_refused(plain, sections, message):
    with pytest.raises(UserError, match=message):
        augmented_loader({"DataAugmentation": None, **sections}, {"model_dir": str(plain), "train_dataloader": list})


def test_rounds_are_refused(plain):
    config = {**EVERYTHING, "DataAugmentation": {"n_iter": 20}}
    with pytest.raises(UserError, match="DataAugmentation.n_iter: does nothing without bert_to_bilstm"):
        augmented_loader(config, {"model_dir": str(plain), "train_dataloader": FORMS["dicts"](plain, BERT_FEEDS)})


@pytest.mark.parametrize("labels, message", [
    ([0, 1, 2, 1, 0, 1, 0, 1], "must be the numbers of classes, 0 to 1, or -1 for a text without a label"),
    ([0, 1, -100, 1, 0, 1, 0, 1], "0 to 1, or -1"), ([0.2, 0.9, 1, 1, 0, 1, 0, 1], "the numbers of classes")])
def test_labels_that_are_no_classes_are_refused_before_any_work(plain, labels, message):
    framing, _ = framed(plain, BERT_FEEDS)
    with pytest.raises(UserError, match=f"train_dataloader: labels: .*{message}"):
        read_loader([{**batch, "labels": np.array(labels)} for batch in batches_of(plain, BERT_FEEDS)],
                    load_tokenizer(plain), framing, CLASSIFICATION, 2)


def test_a_loader_whose_labels_are_all_missing_has_none(plain):
    framing, _ = framed(plain, BERT_FEEDS)

    def labels_of(*known):
        batches = [{**batch, "labels": np.full((8, 1), -1)} for batch in batches_of(plain, BERT_FEEDS)]
        batches[0]["labels"][:len(known), 0] = known
        return read_loader(batches, load_tokenizer(plain), framing, CLASSIFICATION, 2)[1]
    assert labels_of() is None and sorted(labels_of(1)[labels_of(1) >= 0]) == [1]


@pytest.mark.parametrize("make", [data_loader, loader_of_tensors])
@pytest.mark.parametrize("step, called", [("quant_post", "quant_post"), ("ptq_hpo", "post_quant_hpo.quant_post_hpo")])
def test_calibration_and_measuring_see_the_loaders_own_batches(plain, tmp_path, monkeypatch, step, called, make):
    """What trains takes the augmented batches, the calibration behind it and the measuring the plain ones."""
    from paddleslim.auto_compression import AutoCompression
    seen = {}
    monkeypatch.setattr(f"paddleslim.auto_compression.compressor.{called}", lambda *_, **given: seen.update(
        batch=next(iter((given.get("data_loader") or given["train_dataloader"])()))))
    loader, model_dir = make(plain, BERT_FEEDS), tmp_path / "model"
    shutil.copytree(plain, model_dir)  # PaddleSlim writes into it
    compression = AutoCompression(
        model_dir=str(model_dir), model_filename="inference.pdmodel", params_filename="inference.pdiparams",
        save_dir=str(tmp_path), train_dataloader=loader, eval_callback=lambda *_: 1.0,
        config={**EVERYTHING, "QuantAware": None, "TrainConfig": {"epochs": 1, "eval_iter": 2, "learning_rate": 1e-4,
                "optimizer_builder": {"optimizer": {"type": "SGD"}}}})
    compression.tmp_dir = str(tmp_path)
    compression.single_strategy_compress(step, type("Config", (), {
        "recon_level": None, "__getattr__": lambda self, name: None})(), 0, None)
    own = batches_of(plain, BERT_FEEDS)[0]
    for batch in (seen["batch"], next(compression.eval_dataloader())):
        batch = batch[0] if isinstance(batch, list) else batch
        np.testing.assert_array_equal(np.array(batch["input_ids"]), own["input_ids"])
    augmented = next(compression.train_dataloader())
    assert (augmented["input_ids"] != own["input_ids"]).any()
