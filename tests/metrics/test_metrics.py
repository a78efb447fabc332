"""Metrics: state, devices, waiting, stateless calls, errors, names, configs."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from lamina import metrics
from lamina.core.errors import ArgumentError, DataError, ShapeError, StateError, UnknownNameError
from lamina.core.variable import Variable


class Calls(TorchDispatchMode):
    """The torch calls made within."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def _all():
    """One of each metric, with data for it."""
    labels, indices, bits = torch.eye(3).repeat(3, 1)[:8], torch.randint(0, 3, (8,)), torch.randint(0, 2, (8, 3))
    guesses = torch.rand(8, 3)
    options = {
        "MeanMetricWrapper": {"fn": lambda y_true, y_pred: (y_true - y_pred).abs()},
        "IoU": {"num_classes": 3, "target_class_ids": [0, 1]},
        "MeanIoU": {"num_classes": 3},
        "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 1]},
        "OneHotMeanIoU": {"num_classes": 3},
        "SensitivityAtSpecificity": {"specificity": 0.5},
        "SpecificityAtSensitivity": {"sensitivity": 0.5},
        "PrecisionAtRecall": {"recall": 0.5},
        "RecallAtPrecision": {"precision": 0.5},
        "TopKCategoricalAccuracy": {"k": 2},
        "SparseTopKCategoricalAccuracy": {"k": 2},
    }
    for name, cls in metrics.NAMES.items():
        if not isinstance(cls, type) or cls.__name__ != name or cls is metrics.Metric:
            continue
        metric = cls(**options.get(name, {}))
        if name in ("Mean", "Sum"):
            yield metric, (guesses,)
        elif "Sparse" in name:
            yield metric, (indices, guesses)
        elif name in ("IoU", "MeanIoU"):
            yield metric, (indices, torch.randint(0, 3, (8,)))
        elif "Categorical" in name or "OneHot" in name or name in ("F1Score", "FBetaScore", "KLDivergence"):
            yield metric, (labels, guesses)
        elif name == "BinaryIoU":
            yield metric, (bits, guesses)
        else:
            yield metric, (bits.float(), guesses)


ALL = list(_all())
NAMED = pytest.mark.parametrize(("metric", "data"), ALL, ids=[type(metric).__name__ for metric, _ in ALL])


@NAMED
def test_life_of_a_metric(metric, data):
    data = tuple(value.clone().requires_grad_() if value.is_floating_point() else value for value in data)
    with Calls() as calls:
        metric.update_state(*data)
        result = metric.result()
    assert not [call for call in calls.names if "local_scalar" in call or "nonzero" in call], "waits for the device"
    assert not result.requires_grad
    assert all(isinstance(v, Variable) and v.grad_fn is None and not v.requires_grad for v in metric.variables)
    kept = list(metric.variables)
    metric.update_state(*data)
    assert all(now is before for now, before in zip(metric.variables, kept, strict=True))
    for other in (copy.deepcopy(metric), *([] if "Wrapper" in repr(metric) else [pickle.loads(pickle.dumps(metric))])):
        torch.testing.assert_close(other.result(), metric.result(), equal_nan=True)
    metric.reset_state()
    assert all(now is before for now, before in zip(metric.variables, kept, strict=True))
    assert not any(bool(variable.any()) for variable in metric.variables)
    assert torch.equal(metric(*data).nan_to_num(), result.nan_to_num())


@NAMED
def test_stateless(metric, data):
    metric.reset_state()
    metric.update_state(*data)
    wanted = metric.result().clone()
    state = [variable.detach().clone() for variable in metric.variables]
    metric.reset_state()
    after = metric.stateless_update_state(metric.stateless_reset_state(), *data)
    for got, want in zip(after, state, strict=True):
        torch.testing.assert_close(got, want, equal_nan=True)
    torch.testing.assert_close(metric.stateless_result(after), wanted, equal_nan=True)
    assert not any(bool(variable.any()) for variable in metric.variables)
    with pytest.raises(ShapeError):
        metric.stateless_result([*after, torch.zeros(())])


@NAMED
def test_updates_can_be_traced(metric, data):
    metric.reset_state()
    metric.update_state(*data)
    wanted = [variable.detach().clone() for variable in metric.variables]

    def update(state, data):
        with metric.explicit(state):
            metric.update_state(*data)
        return state

    zeros = [torch.zeros_like(value) for value in wanted]
    for mode in ("real", "fake"):
        graph = make_fx(update, tracing_mode=mode)([value.clone() for value in zeros], data)
        assert not [node for node in graph.graph.nodes if "local_scalar" in str(node.target)]
        for got, want in zip(graph([value.clone() for value in zeros], data), wanted, strict=True):
            torch.testing.assert_close(got, want, equal_nan=True)
    for variable, want in zip(metric.variables, wanted, strict=True):
        torch.testing.assert_close(variable.detach(), want, equal_nan=True)


@NAMED
def test_config(metric, data):
    if type(metric) is metrics.MeanMetricWrapper:
        pytest.skip("a lambda")
    again = metrics.deserialize(metrics.serialize(metric))
    assert type(again) is type(metric) and again.get_config() == metric.get_config()


def test_few_torch_calls():
    y_true, y_pred, labels = torch.rand(8, 3), torch.rand(8, 3), torch.randint(0, 3, (8,))
    for metric, data, limit in (
        (metrics.Mean(), (torch.tensor(1.0), 8), 2),
        (metrics.MeanSquaredError(), (y_true, y_pred), 3),
        (metrics.SparseCategoricalAccuracy(), (labels, y_pred), 6),
        (metrics.BinaryAccuracy(), ((y_true > 0.5).float(), y_pred), 6),
        (metrics.Precision(), ((y_true > 0.5).float(), y_pred), 12),
    ):
        with torch.no_grad(), Calls() as calls:
            metric.update_state(*data)
        assert len(calls.names) <= limit, (metric, calls.names)


def test_mean_of_losses_weighs_batches_by_their_size():
    metric = metrics.Mean()
    metric.update_state(torch.tensor(1.0, requires_grad=True) * 1, sample_weight=30)
    metric.update_state(torch.tensor(4.0), sample_weight=10)
    assert float(metric.result()) == pytest.approx(1.75)
    assert float(metrics.Mean().result()) == 0.0


def test_state_takes_the_dtype_asked_for():
    metric = metrics.Mean(dtype="float64")
    metric.update_state(torch.full((3,), 1e-9, dtype=torch.float64))
    assert metric.result().dtype is torch.float64 and metric.dtype == "float64"
    half = metrics.MeanSquaredError()
    half.update_state(torch.zeros(64, 1, dtype=torch.bfloat16), torch.ones(64, 1, dtype=torch.bfloat16))
    assert half.result().dtype is torch.float32 and float(half.result()) == 1.0


def test_large_labels_are_exact():
    metric = metrics.SparseCategoricalAccuracy()
    prediction = torch.zeros(1, 2**24 + 2)
    prediction[0, 2**24 + 1] = 1
    assert float(metric(torch.tensor([2**24 + 1]), prediction)) == 1.0
    metric.reset_state()
    assert float(metric(torch.tensor([2**24]), prediction)) == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_state_follows_the_data():
    for metric, data in ALL:
        metric.reset_state()
        metric.update_state(*(value.cuda() for value in data))
        assert all(variable.is_cuda for variable in metric.variables)


class Largest(metrics.Metric):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.largest = self.add_weight(name="largest")
        self.inner = metrics.Mean(name="inner")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(torch.maximum(self.largest, self.factor * (y_true - y_pred).abs().max()))
        self.inner.update_state(y_pred)

    def result(self):
        return {"largest": self.largest, "mean": self.inner.result()}


def test_a_metric_of_ones_own():
    metric = Largest(factor=2.0, name="mine")
    result = metric(torch.zeros(2), torch.tensor([1.0, -3.0], requires_grad=True))
    assert float(result["largest"]) == 6.0 and not result["mean"].requires_grad
    assert [variable.path for variable in metric.variables] == ["mine/largest", "inner/total", "inner/count"]
    assert Largest.from_config(metric.get_config()).factor == 2.0
    metric.reset_state()
    assert not any(bool(variable.any()) for variable in metric.variables)


class Forgetful(metrics.Metric):
    def __init__(self):
        self.total = self.add_weight(name="total")


def test_errors():
    with pytest.raises(StateError, match="super"):
        Forgetful()
    with pytest.raises(NotImplementedError):
        metrics.Metric().update_state()
    with pytest.raises(NotImplementedError):
        metrics.Metric().result()
    with pytest.raises(ArgumentError):
        metrics.Precision(thresholds=[0.5, 1.5])
    with pytest.raises(ArgumentError):
        metrics.AUC(curve="XYZ")
    with pytest.raises(ArgumentError):
        metrics.AUC(num_thresholds=1)
    with pytest.raises(ArgumentError):
        metrics.AUC(num_labels=3)
    with pytest.raises(ArgumentError):
        metrics.R2Score(class_aggregation="sum")
    with pytest.raises(ArgumentError):
        metrics.FBetaScore(beta=-1.0)
    with pytest.raises(ArgumentError):
        metrics.IoU(num_classes=2, target_class_ids=[2])
    with pytest.raises(ArgumentError):
        metrics.SensitivityAtSpecificity(1.5)
    with pytest.raises(ShapeError, match="one-hot"):
        metrics.Precision()(torch.tensor([1, 2, 0]), torch.rand(3, 3))
    with pytest.raises(ShapeError, match="column"):
        metrics.Recall(class_id=1)(torch.ones(3), torch.rand(3))
    with pytest.raises(ShapeError, match="categorical_accuracy"):
        metrics.SparseCategoricalAccuracy()(torch.eye(4), torch.rand(4, 4)[:, :2])
    with pytest.raises(ShapeError, match="rank 2"):
        metrics.R2Score()(torch.ones(3), torch.rand(3))
    with pytest.raises(ShapeError, match="weights"):
        metrics.MeanSquaredError()(torch.ones(3, 1), torch.rand(3, 1), sample_weight=torch.ones(2))
    with pytest.raises(ShapeError, match="multi_label"):
        metrics.AUC(multi_label=True)(torch.ones(3), torch.rand(3))


def test_names():
    assert metrics.get(None) is None
    assert isinstance(metrics.get("mse"), metrics.MeanSquaredError)
    assert isinstance(metrics.get("AUC"), metrics.AUC) and isinstance(metrics.get(metrics.AUC), metrics.AUC)
    assert isinstance(metrics.get({"class_name": "Recall", "config": {"top_k": 2}}), metrics.Recall)
    function = lambda y_true, y_pred: y_pred  # noqa: E731
    assert metrics.get(function) is function
    with pytest.raises(UnknownNameError, match="precision"):
        metrics.get("precison")


def test_numbers_and_arrays():
    metric = metrics.BinaryAccuracy()
    metric.update_state(np.array([[1.0], [0.0]]), np.array([[0.9], [0.8]], "float32"))
    metric.update_state([[1], [0]], [[0.9], [0.1]])
    assert float(metric.result()) == 0.75


def test_nan_predictions_do_not_break_the_auc():
    metric = metrics.AUC()
    metric.update_state(torch.tensor([0.0, 1.0]), torch.tensor([float("nan"), 0.5]))
    assert metric.result().shape == ()


def test_state_held_in_lists_and_dicts():
    class Holder(metrics.Metric):
        def __init__(self, parts):
            super().__init__()
            self.parts = parts

        def update_state(self, values):
            for part in self.variables:
                part.add_(values)

    for parts in (
        [metrics.Sum(), metrics.Mean()],
        (metrics.Sum(), metrics.Mean()),
        {"a": metrics.Sum(), "b": [metrics.Mean()]},
    ):
        holder = Holder(parts)
        assert len(holder.variables) == 3
        state = [torch.zeros(()) for _ in range(3)]
        with holder.explicit(state):
            holder.update_state(torch.tensor(2.0))
        assert [float(s) for s in state] == [2.0] * 3 and [float(v) for v in holder.variables] == [0.0] * 3
        holder.update_state(torch.tensor(1.0))
        holder.reset_state()
        assert [float(v) for v in holder.variables] == [0.0] * 3


def test_what_does_not_fit():
    with pytest.raises(ShapeError, match="one weight per sample"):
        metrics.Precision()([[1, 0], [0, 1]], [[0.2, 0.3], [0.4, 0.6]], sample_weight=[1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match="sparse_categorical_accuracy"):
        metrics.CategoricalAccuracy()([[1, 0, 0]], [[0.2, 0.8]])
    with pytest.raises(DataError, match="label 7"):
        metrics.SparseTopKCategoricalAccuracy(2)([7], [[0.2, 0.3, 0.5]])
