"""Labelled and unlabelled text from files, Python lists and PaddleNLP's datasets."""

from .dataset import Dataset, load_dataset
from .files import read_file
from .labels import LabelScheme, NumberScheme, label_scheme
from .rows import Rows, Text, check_kind

__all__ = ["Dataset", "LabelScheme", "NumberScheme", "Rows", "Text", "check_kind", "label_scheme",
           "load_dataset", "read_file"]
