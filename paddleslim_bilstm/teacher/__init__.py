"""The classifier that is distilled: loaded, run fast, and asked once for its logits."""

from .engine import InferenceModel, batches_by_length, logits_of
from .ensemble import load_teachers
from .labelling import LABELS_FORMAT, Labels, bytes_of_answers, label, missing_bytes
from .load import load_teacher
from .onnx_teacher import OnnxTeacher
from .teacher import PaddleTeacher, Teacher

__all__ = ["InferenceModel", "LABELS_FORMAT", "Labels", "OnnxTeacher", "PaddleTeacher", "Teacher", "batches_by_length",
           "bytes_of_answers", "label", "load_teacher", "load_teachers", "logits_of", "missing_bytes"]
