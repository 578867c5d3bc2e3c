"""Labelled and unlabelled text from files, Python lists and PaddleNLP's datasets."""

from .dataset import Dataset, load_dataset, load_dev_set
from .files import read_file
from .rows import Rows, Text, check_kind

__all__ = ["Dataset", "Rows", "Text", "check_kind", "load_dataset", "load_dev_set", "read_file"]
