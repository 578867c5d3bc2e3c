"""The classifier that is distilled: loaded, run fast, and asked once for its logits.

Its names are looked up when they are asked for: which files are a teacher, and what they say of themselves (`files`,
`families`, `weights`), is read without Paddle.
"""

_HOMES = {"InferenceModel": "engine", "LABELS_FORMAT": "labelling", "Labels": "labelling",
          "OnnxTeacher": "onnx_teacher", "PaddleTeacher": "teacher", "Teacher": "teacher",
          "batches_by_length": "engine", "bytes_of_answers": "labelling", "label": "labelling", "load_teacher": "load",
          "load_teachers": "ensemble", "logits_of": "engine", "missing_bytes": "labelling"}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
