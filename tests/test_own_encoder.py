"""An encoder of one's own is tried before any work: what is wrong with it is told in one line."""

import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.pipeline import prepare
from paddleslim_bilstm.student import encoders
from paddleslim_bilstm.student.encoders import encoder_named
from paddleslim_bilstm.student.graph import Graph

PAGE = Path(__file__).parents[1] / "docs" / "development.md"
CODE = re.search(r"```python\n(# my_encoder.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture
def try_encoder(tmp_path):
    """``try_encoder(replaced, by)`` prepares a run with the encoder of docs/development.md, changed."""
    def run(replaced: str, by: str, name: str = "mean") -> None:
        assert replaced in CODE
        (tmp_path / "own.py").write_text(CODE.replace(replaced, by, 1), encoding="utf-8")
        prepare({"Global": {"model_dir": "teacher", "plugins": [str(tmp_path / "own.py")],
                            "save_dir": str(tmp_path / "out")},
                 "bert_to_bilstm": {"student": {"encoder": name, "embed_dim": 12, "dropout": 0.1}}})
    return run


@pytest.mark.parametrize("replaced, by, line, reason", [
    ("return np.ones(shape)", "return np.ones(3)", "", "draw() returns [3] for mean.weight, and shapes() says [12]"),
    ("return np.ones(shape)", "return np.full(shape, np.nan)", "", "something else than finite numbers for mean"),
    ("return np.ones(shape)", "return absent", "return absent", "name 'absent' is not defined"),
    ("return spec.embed_dim\n", "return 2 * spec.embed_dim\n", "", "12 numbers a sentence, and features() says 24"),
    ('{"mean.weight": self.weight.name}', '{"mean": self.weight.name}', "", "shapes() has mean.weight, and weight_"),
    ("self.weight * total", "self.weights * total", "self.weights", "AttributeError: 'MeanLayer' object has no attrib"),
    ("return batch, length, self.width", "return batch, length", "", "Broadcast dimension mismatch"),
    ("within = graph.within", "within = graph.wihtin", "graph.wihtin", "'Graph' object has no attribute"),
    ('"ReduceSum"', '"ReduceSumm"', "", "No Op registered for ReduceSumm"),
    ('"Div", "mean"', '"Mul", "mean"', "", "with the nodes of add_nodes() the ONNX student's logits differ"),
    ('"none.float"', '"one"', 'graph.constant("one"', "the graph has another constant called one"),
])
def test_a_mistake_is_named_with_its_line_before_any_work(try_encoder, tmp_path, replaced, by, line, reason):
    with pytest.raises(UserError) as error:
        try_encoder(replaced, by)
    text = (tmp_path / "own.py").read_text(encoding="utf-8")
    place = f":{text[:text.index(line)].count(chr(10)) + 1}" if line else ""
    message = str(error.value)
    assert message.startswith(f"bert_to_bilstm.student.encoder: mean can't be used: {tmp_path / 'own.py'}{place}: ")
    assert reason in message and message.endswith("; mend it, or take another one")


def test_a_sound_encoder_and_ours_pass(try_encoder):
    try_encoder("np.ones(shape)", "np.ones(shape)")
    try_encoder('student_encoder("mean")', 'student_encoder("other")', "bigru")


def test_an_encoder_that_there_is_not_is_named_with_its_place(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("Global: {model_dir: x}\nbert_to_bilstm:\n  student:\n    encoder: gru\n")
    with pytest.raises(UserError, match="own.yaml:4: bert_to_bilstm.student.encoder: no encoder is called 'gru'; did"):
        load_config(file)
    with pytest.raises(UserError, match="no encoder is called 'gru'; .* import the module that registers one of"):
        encoder_named("gru")


def test_our_encoders_are_called_as_their_files():
    """So that `config` knows them without loading Paddle."""
    for name in ("bigru", "bilstm"):
        assert encoder_named(name)
    ours = {name for name, kind in encoders._KINDS.items() if encoders.is_ours(type(kind))}
    assert ours == {module.name for module in pkgutil.iter_modules(encoders.__path__)}


def test_a_graph_has_one_constant_of_a_name():
    graph = Graph()
    assert graph.constant("one", np.array([1])) == graph.constant("one", np.array([1])) == "one"
    assert len(graph.initializers) == 1
    for other in (np.array([2]), np.array([1], np.int32), np.array([1, 1])):
        with pytest.raises(ValueError, match="another constant called one"):
            graph.constant("one", other)
