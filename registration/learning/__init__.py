"""Training of the point networks: colors for matching, classes of solids, outliers."""

from .classification import ClassifierScores, PointClassifier, train_classifier
from .colors import ColorsConfig, ColorsMethod
from .outliers import train_outlier_detector

__all__ = [
    "ClassifierScores",
    "ColorsConfig",
    "ColorsMethod",
    "PointClassifier",
    "train_classifier",
    "train_outlier_detector",
]
