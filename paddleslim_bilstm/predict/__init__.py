"""Texts to labels with a finished student, without Paddle."""

from .predictor import Prediction, Predictor, Score

__all__ = ["Prediction", "Predictor", "Score"]
