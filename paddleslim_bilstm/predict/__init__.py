"""Texts to labels with a finished student, without Paddle."""

from .predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
