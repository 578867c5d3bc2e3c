"""Texts to labels with a finished student, without Paddle."""

from ..task import FoundLabels, Prediction, Score
from .predictor import Predictor

__all__ = ["FoundLabels", "Prediction", "Predictor", "Score"]
