"""Texts to labels with a finished student, without Paddle."""

from ..task import Prediction, Score
from .predictor import Predictor

__all__ = ["Prediction", "Predictor", "Score"]
