"""What `peers.py` compares: each is made once, and answers in a process that imports only what it needs itself.

    python classifiers.py make|serve NAME PLACES

PLACES is JSON: `folder`, the classifier's own, which holds in the end all that it needs to answer; `train`, a file of
texts and class numbers; `source`, the folder of a run or of a checkpoint; `tokenizer`, the checkpoint's. `serve` reads
requests from standard input, one a line, and answers each with a line.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

from processes import peak_mib

Places = dict
Classify = Callable[[Sequence[str]], Sequence[int]]  # texts to class numbers
_MOST_TOKENS = 128
_FEEDS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Classifier:
    """One way from texts to class numbers.

    Attributes:
        load: its folder to a function.
        make: fills the folder.
        packages: what `pip install` must bring to make it, where this package's own needs are not enough.
        apart: answers with these, too; otherwise with what this package needs.
    """

    load: Callable[[Path], Classify] | None
    make: Callable[[Places, Path], None]
    packages: str = ""
    apart: bool = False


def student(runtime: str, *files: str) -> Classifier:
    """A student of ours, with the files that its `Predictor` reads."""
    def make(places: Places, folder: Path) -> None:
        from paddleslim_bilstm.tokens import copy_tokenizer
        copy_tokenizer(Path(places["source"]), folder)
        for name in ("student.json", *files):
            shutil.copy(Path(places["source"]) / name, folder)

    def load(folder: Path) -> Classify:
        from paddleslim_bilstm.predict import Predictor
        predictor = Predictor(folder, runtime)
        numbers = {name: number for number, name in enumerate(predictor.label_names)}
        return lambda texts: [numbers[one.label] for one in predictor.predict(texts)]
    return Classifier(load, make)


def make_paddle_bert(places: Places, folder: Path) -> None:
    """Export a checkpoint as an inference model."""
    import paddle

    from paddleslim_bilstm.cpu import apply_cpu_settings
    from paddleslim_bilstm.old_programs import old_programs
    from paddleslim_bilstm.teacher import load_teacher
    apply_cpu_settings()
    paddle.enable_static()
    with old_programs():
        copy = load_teacher(places["source"], folder / "copies").prefix
    for suffix in (".pdmodel", ".pdiparams"):
        shutil.move(copy.with_suffix(suffix), folder)
    shutil.rmtree(folder / "copies")
    shutil.copy(places["tokenizer"], folder)


def load_paddle_bert(folder: Path) -> Classify:
    """Run it in Paddle Inference, with our CPU settings, and without oneDNN, which is slower for ever new lengths."""
    from paddleslim_bilstm.cpu import apply_cpu_settings
    apply_cpu_settings()
    from paddle.inference import Config, create_predictor
    config = Config(str(folder / "model.pdmodel"), str(folder / "model.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(1)
    config.disable_mkldnn()
    config.enable_memory_optim()
    predictor = create_predictor(config)
    output = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(feeds: dict[str, Any]) -> Any:
        for name in predictor.get_input_names():
            predictor.get_input_handle(name).copy_from_cpu(feeds[name])
        predictor.run()
        return output.copy_to_cpu()
    return bert(folder, run)


def make_onnx_bert(int8: bool) -> Callable[[Places, Path], None]:
    """Export a checkpoint from PyTorch, fuse its attention, and let ONNX Runtime quantize it."""
    def make(places: Places, folder: Path) -> None:
        import torch
        from onnx import TensorProto
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.transformers.optimizer import optimize_model
        from transformers import AutoModelForSequenceClassification
        model = AutoModelForSequenceClassification.from_pretrained(places["source"], attn_implementation="eager")
        ids, file = torch.ones((2, 8), dtype=torch.int64), str(folder / "model.onnx")
        torch.onnx.export(model.float().eval(), (ids, ids, 0 * ids), file, input_names=list(_FEEDS),
                          output_names=["logits"], dynamo=False, opset_version=17,
                          dynamic_axes={name: {0: "batch", 1: "length"} for name in _FEEDS})
        fused = optimize_model(file, "bert", model.config.num_attention_heads, model.config.hidden_size)
        fused.save_model_to_file(file)
        if int8:
            quantize_dynamic(file, file, weight_type=QuantType.QInt8, per_channel=True,
                             extra_options={"DefaultTensorType": TensorProto.FLOAT})  # behind what is fused
        shutil.copy(places["tokenizer"], folder)
    return make


def load_onnx_bert(folder: Path) -> Classify:
    """Run it in ONNX Runtime."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return bert(folder, lambda feeds: session.run(None, feeds)[0])


def bert(folder: Path, run: Callable[[dict[str, Any]], Any]) -> Classify:
    """Put a tokenizer before a BERT."""
    import numpy as np
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MOST_TOKENS)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"))

    def classify(texts: Sequence[str]) -> Any:
        found = tokenizer.encode_batch(texts)
        arrays = [np.array(rows, np.int64) for rows in ([one.ids for one in found],
                                                        [one.attention_mask for one in found],
                                                        [one.type_ids for one in found])]
        return run(dict(zip(_FEEDS, arrays))).argmax(axis=1)
    return classify


def make_fasttext(quantized: bool) -> Callable[[Places, Path], None]:
    """Train fastText on words and word pairs, 100 dimensions."""
    def make(places: Places, folder: Path) -> None:
        import fasttext
        lines = folder / "train.txt"
        texts, labels = _train(places)
        lines.write_text("".join(f"__label__{label} {text}\n" for text, label in zip(texts, labels)), "utf-8")
        model = fasttext.train_supervised(str(lines), wordNgrams=2, dim=100, thread=1, seed=0, verbose=0)
        if quantized:
            model.quantize(str(lines), qnorm=True, retrain=True, cutoff=100_000, thread=1)  # as its manual does
        model.save_model(str(folder / "model"))
        lines.unlink()
    return make


def load_fasttext(folder: Path) -> Classify:
    """Run it in its own library."""
    import fasttext
    model = fasttext.load_model(str(folder / "model"))
    names = model.get_labels()
    numbers = {name: int(name[len("__label__"):]) for name in names}
    return lambda texts: [numbers[found[0]] for found in model.predict(list(texts))[0]]


def make_model2vec(places: Places, folder: Path) -> None:
    """Make static embeddings of a BERT, and train them with a classifier on top."""
    from model2vec.distill import distill
    from model2vec.train import StaticModelForClassification
    texts, labels = _train(places)
    classifier = StaticModelForClassification.from_static_model(model=distill(places["source"], device="cpu"))
    classifier.fit(texts, [str(label) for label in labels], device="cpu")
    classifier.to_pipeline().save_pretrained(str(folder))


def load_model2vec(folder: Path) -> Classify:
    """Run it in its own library, which needs NumPy alone for that."""
    from model2vec.inference import StaticModelPipeline
    pipeline = StaticModelPipeline.from_pretrained(str(folder))
    return lambda texts: [int(name) for name in pipeline.predict(texts)]


def make_tf_idf(places: Places, folder: Path) -> None:
    """Fit logistic regression on words and word pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=1000))
    (folder / "model.pickle").write_bytes(pickle.dumps(model.fit(*_train(places))))


def load_tf_idf(folder: Path) -> Classify:
    """Run it in scikit-learn."""
    return pickle.loads((folder / "model.pickle").read_bytes()).predict


def make_random_bert(places: Places, folder: Path) -> None:
    """Write a BERT-base with random weights, which takes as long as a trained one."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig()).save_pretrained(folder)
    shutil.copy(places["tokenizer"], folder)


def _train(places: Places) -> tuple[list[str], list[int]]:
    return tuple(json.loads(Path(places["train"]).read_text()))


_TORCH = "torch transformers onnx onnxruntime"
CLASSIFIERS = {
    "student-int8": student("onnx-int8", "model.int8.onnx"),
    "student-onnx": student("onnx", "model.onnx"),
    "student-paddle": student("paddle", "model.pdmodel", "model.pdiparams"),
    "bert-paddle": Classifier(load_paddle_bert, make_paddle_bert),
    "bert-onnx": Classifier(load_onnx_bert, make_onnx_bert(int8=False), _TORCH),
    "bert-onnx-int8": Classifier(load_onnx_bert, make_onnx_bert(int8=True), _TORCH),
    "random-bert": Classifier(None, make_random_bert, _TORCH),
    "fasttext": Classifier(load_fasttext, make_fasttext(quantized=False), "fasttext-numpy2", apart=True),
    "fasttext-ftz": Classifier(load_fasttext, make_fasttext(quantized=True), "fasttext-numpy2", apart=True),
    "model2vec": Classifier(load_model2vec, make_model2vec, '"model2vec[distill,train]"', apart=True),
    "tf-idf": Classifier(load_tf_idf, make_tf_idf, "scikit-learn", apart=True),
}


def answer(classify: Classify, request: dict[str, Any]) -> dict[str, Any]:
    """Return the ``classes`` of the request's ``texts``, or the median ``ms`` that one of its ``batches`` takes.

    All times are processor time (``spent_s`` is the process's own until now): on one thread the same as on the clock,
    and what else runs on the machine counts less.
    """
    if "texts" in request:
        classes = [int(number) for number in classify(request["texts"])]
        return {"classes": classes, "peak_mib": peak_mib(), "spent_s": time.process_time()}
    classify(request["batches"][0])
    seconds: list[float] = []
    while not seconds or sum(seconds) < request["at_least_s"]:
        for batch in request["batches"]:
            start = time.process_time()
            classify(batch)
            seconds.append(time.process_time() - start)
    return {"ms": 1000 * statistics.median(seconds)}


def main(do: str, name: str, places: Places) -> None:
    """Make a classifier, or serve one, until the requests end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    classifier, folder = CLASSIFIERS[name], Path(places["folder"])
    try:
        if do == "make":
            classifier.make(places, folder)
        else:
            classify = classifier.load(folder)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}), file=answers)
        return
    if do == "make":
        print(json.dumps({"made": name}), file=answers)
        return
    for line in sys.stdin:
        print(json.dumps(answer(classify, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
