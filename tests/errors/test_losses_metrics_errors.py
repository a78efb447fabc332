"""Each error of losses and metrics, provoked."""

import numpy as np
import pytest

from lamina import losses, metrics
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    ShapeError,
    StateError,
    UnsupportedError,
)


class Unwritten(losses.Loss):
    pass


class UnwrittenMetric(metrics.Metric):
    pass


class Forgetful(metrics.Metric):
    def __init__(self):
        self.add_weight(name="total")


def ones(*shape):
    return np.ones(shape, "float32")


def metric(kind, *shapes, **options):
    """A metric computed once on arrays of these shapes."""
    return kind(**options)(*(ones(*shape) for shape in shapes))


def returns(value):
    return Returns(value)(ones(2), ones(2))


class Returns(losses.Loss):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def call(self, y_true, y_pred):
        return self.value


CASES = {
    "reduction": (lambda: losses.MeanSquaredError("men"), ArgumentError, 'mean "mean"'),
    "no function": (lambda: losses.base.LossFunctionWrapper(3), ArgumentTypeError, "fn(y_true, y_pred)"),
    "no call": (lambda: Unwritten()(ones(2), ones(2)), UnsupportedError, "def call(self, y_true, y_pred)"),
    "no result": (lambda: returns(None), ArgumentTypeError, "return the result"),
    "shapes": (lambda: losses.MeanSquaredError()(ones(3, 2), ones(3, 5)), ShapeError, "(3, 5)"),
    "weights": (lambda: losses.MeanSquaredError()(ones(3, 2), ones(3, 2), ones(7)), ShapeError, "sample_weight"),
    "axis": (lambda: losses.categorical_crossentropy(ones(3, 2), ones(3, 2), axis=True), ArgumentTypeError, "axis"),
    "labels": (lambda: losses.SparseCategoricalCrossentropy()([2], [[0.5, 0.5]]), DataError, "3 units"),
    "one-hot": (lambda: losses.sparse_categorical_crossentropy(ones(3, 2), ones(3, 2)), ShapeError, "one-hot"),
    "q": (lambda: losses.CategoricalGeneralizedCrossEntropy(q=2.0), ArgumentError, "0 < q < 1"),
    "ctc": (lambda: losses.ctc(ones(3), ones(3, 4, 2)), ShapeError, "loss ctc"),
    "forgetful": (Forgetful, StateError, "Forgetful.__init__"),
    "no update": (lambda: UnwrittenMetric()(ones(2), ones(2)), UnsupportedError, "def update_state"),
    "no metric result": (lambda: UnwrittenMetric().result(), UnsupportedError, "def result(self)"),
    "variables": (lambda: metrics.Mean().stateless_result([1]), ShapeError, "metric.variables"),
    "nothing": (lambda: metrics.Mean()(None), DataError, "return a value"),
    "values and weights": (lambda: metrics.Mean()(ones(3), ones(2)), ShapeError, "one weight per sample"),
    "classes": (lambda: metric(metrics.CategoricalAccuracy, (3, 2), (3, 5)), ShapeError, "sparse_categorical_accuracy"),
    "threshold": (lambda: metrics.Precision(thresholds=2), ArgumentError, "0 to 1"),
    "threshold of text": (lambda: metrics.Recall(thresholds="0.5"), ArgumentError, "thresholds"),
    "class": (lambda: metric(metrics.Precision, (3, 2), (3, 2), class_id=2), ShapeError, "more than 2 classes"),
    "labels and predictions": (lambda: metric(metrics.Precision, (3,), (3, 2)), ShapeError, "one-hot"),
    "confusion weights": (lambda: metric(metrics.Precision, (3, 2), (3, 2), (7,)), ShapeError, "one weight per sample"),
    "rate": (lambda: metrics.SensitivityAtSpecificity(2.0), ArgumentError, "0 to 1"),
    "no thresholds": (lambda: metrics.SensitivityAtSpecificity(0.5, num_thresholds=0), ArgumentError, "> 0"),
    "one threshold": (lambda: metrics.AUC(num_thresholds=1), ArgumentError, "> 1"),
    "curve": (lambda: metrics.AUC(curve="RUC"), ArgumentError, "AUC, curve"),
    "num_labels": (lambda: metrics.AUC(num_labels=2), ArgumentError, "multi_label=True"),
    "multi_label": (lambda: metric(metrics.AUC, (3,), (3,), multi_label=True), ShapeError, "(batch, labels)"),
    "average": (lambda: metrics.F1Score(average="makro"), ArgumentError, 'mean "macro"'),
    "beta": (lambda: metrics.FBetaScore(beta=-1.0), ArgumentError, "above 0.0"),
    "threshold of F1": (lambda: metrics.F1Score(threshold=2.0), ArgumentError, "0 < x <= 1"),
    "F1 of labels": (lambda: metric(metrics.F1Score, (3,), (3, 2)), ShapeError, "metric 'f1_score'"),
    "target class": (lambda: metrics.IoU(3, [5]), ArgumentError, "0 to 2"),
    "target class no list": (lambda: metrics.IoU(3, 1), ArgumentError, "a list of indices"),
    "aggregation": (lambda: metrics.R2Score(class_aggregation="mean"), ArgumentError, "class_aggregation"),
    "regressors": (lambda: metrics.R2Score(num_regressors=-1), ArgumentError, "num_regressors"),
    "R2 of rank 1": (lambda: metric(metrics.R2Score, (3,), (3,)), ShapeError, "(batch, outputs)"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case):
    provoke, kind, words = CASES[case]
    with pytest.raises(kind) as caught:
        provoke()
    assert words in str(caught.value)
