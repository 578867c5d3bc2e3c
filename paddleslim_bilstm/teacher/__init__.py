"""The BERT or ERNIE classifier that is distilled: loaded, run fast, and asked once for its logits."""

from .engine import InferenceModel, batches_by_length, logits_of
from .labelling import LABELS_FORMAT, Labels, label, missing_bytes
from .load import load_teacher
from .teacher import PaddleTeacher, Teacher

__all__ = ["InferenceModel", "LABELS_FORMAT", "Labels", "PaddleTeacher", "Teacher", "batches_by_length", "label",
           "load_teacher", "logits_of", "missing_bytes"]
