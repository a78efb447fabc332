"""Losses: stability, speed in torch calls, errors, names, configs, and what Keras's own losses cannot show."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lamina import activations, losses
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    FileError,
    ShapeError,
    UnknownNameError,
)


class Calls(TorchDispatchMode):
    """The torch calls made within."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def _saturated(activation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits so large that probabilities round to 0 and 1, and those probabilities."""
    logits = torch.tensor([[200.0, -200.0], [-150.0, 150.0]], requires_grad=True)
    return logits, getattr(activations, activation)(logits)


@pytest.mark.parametrize(
    ("loss", "y_true", "activation", "expected"),
    [
        (losses.SparseCategoricalCrossentropy(), torch.tensor([1, 1]), "softmax", 200.0),
        (losses.CategoricalCrossentropy(), torch.tensor([[0.0, 1.0], [0.0, 1.0]]), "softmax", 200.0),
        (losses.BinaryCrossentropy(), torch.tensor([[0.0, 0.0], [0.0, 1.0]]), "sigmoid", 50.0),
    ],
)
def test_probabilities_from_an_activation_are_computed_from_their_logits(loss, y_true, activation, expected):
    logits, probabilities = _saturated(activation)
    value = loss(y_true, probabilities)
    value.backward()
    assert value.item() == pytest.approx(expected)
    assert logits.grad is not None and bool(logits.grad.isfinite().all()) and float(logits.grad.abs().max()) > 0.2


def test_logits_of_another_activation_are_not_used():
    y_true = torch.tensor([[0.0, 1.0]])
    logits = torch.tensor([[1.0, 3.0]], requires_grad=True)
    plain = losses.BinaryCrossentropy()(y_true, logits.softmax(-1))
    assert losses.BinaryCrossentropy()(y_true, activations.softmax(logits)).item() == pytest.approx(plain.item())
    plain = losses.CategoricalCrossentropy()(y_true, logits.sigmoid())
    assert losses.CategoricalCrossentropy()(y_true, activations.sigmoid(logits)).item() == pytest.approx(plain.item())


def test_logits_survive_a_cast():
    logits = torch.tensor([[60.0, -60.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = losses.SparseCategoricalCrossentropy()(torch.tensor([1]), activations.softmax(logits))
    assert loss.dtype is torch.float32 and loss.item() == pytest.approx(120.0)


def test_logits_for_a_loss_from_logits_are_reported():
    probabilities = activations.softmax(torch.tensor([[1.0, 3.0]], requires_grad=True))
    with pytest.warns(UserWarning, match="from_logits"):
        losses.SparseCategoricalCrossentropy(from_logits=True)(torch.tensor([1]), probabilities)


@pytest.mark.parametrize(
    ("name", "options", "targets", "limit"),
    [
        ("MeanSquaredError", {}, torch.rand(8, 3), 1),
        ("MeanAbsoluteError", {}, torch.rand(8, 3), 3),
        ("Huber", {}, torch.rand(8, 3), 1),
        ("BinaryCrossentropy", {"from_logits": True}, torch.rand(8, 3), 1),
        ("CategoricalCrossentropy", {"from_logits": True}, torch.rand(8, 3), 6),
        ("SparseCategoricalCrossentropy", {"from_logits": True}, torch.randint(0, 3, (8,)), 3),
    ],
)
def test_few_torch_calls(name, options, targets, limit):
    prediction = torch.rand(8, 3, requires_grad=True)
    loss = getattr(losses, name)(**options)
    with Calls() as calls:
        loss(targets, prediction)
    assert len(calls.names) <= limit, calls.names


@pytest.mark.parametrize("name", sorted(n for n, obj in losses.NAMES.items() if isinstance(obj, type)))
def test_nothing_waits_for_the_device(name):
    if name in ("Loss", "LossFunctionWrapper", "CTC"):
        pytest.skip("no formula, or one of torch's that reads lengths")
    sparse = "Sparse" in name or name in ("Circle", "CategoricalGeneralizedCrossEntropy")
    targets = torch.randint(0, 3, (8,)) if sparse else torch.rand(8, 3)
    prediction = torch.rand(8, 3)
    prediction._keras_mask = torch.rand(8) > 0.3  # type: ignore[attr-defined]
    weights = None if name in ("Dice", "Tversky") else torch.rand(8)
    with Calls() as calls:
        getattr(losses, name)()(targets, prediction, weights if name not in ("Dice", "Tversky") else None)
    assert not [call for call in calls.names if "local_scalar" in call or "nonzero" in call]


def test_labels_out_of_range_are_named():
    logits = torch.zeros(4, 3)
    for loss in (losses.SparseCategoricalCrossentropy(from_logits=True), losses.SparseCategoricalCrossentropy()):
        with pytest.raises(DataError, match=r"label 7 .*"):
            loss(torch.tensor([0, 1, 7, 2]), logits + 1)
        with pytest.raises(DataError, match="ignore_class=-1"):
            loss(torch.tensor([0, 1, -1, 2]), logits + 1)
    with pytest.raises(DataError, match="0 to 2"):
        losses.sparse_categorical_crossentropy(torch.tensor([3]), torch.ones(1, 3))


def test_labels_keep_their_precision():
    classes = 2**25
    logits = torch.zeros(1, 1).expand(1, classes).clone()
    logits[0, classes - 2] = 30.0
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(torch.tensor([classes - 2]), logits)) < 1e-3


def test_ignored_classes_leave_no_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)(
        torch.tensor([0, -1, 2, -1]), logits
    ).backward()
    assert logits.grad is not None
    assert logits.grad[[1, 3]].abs().sum() == 0 and logits.grad[[0, 2]].abs().sum() > 0


def test_mismatched_shapes_say_what_to_do():
    with pytest.raises(ShapeError, match="sparse_categorical_crossentropy"):
        losses.CategoricalCrossentropy()(torch.tensor([1, 2, 0]), torch.rand(3, 3))
    with pytest.raises(ShapeError, match="one-hot: use categorical_crossentropy"):
        losses.SparseCategoricalCrossentropy()(torch.eye(3), torch.rand(3, 3))
    with pytest.raises(ShapeError, match=r"y_true \(3, 2\), y_pred \(3, 4\)"):
        losses.MeanSquaredError()(torch.rand(3, 2), torch.rand(3, 4))
    with pytest.raises(ShapeError, match="sample_weight"):
        losses.MeanSquaredError()(torch.rand(3, 2), torch.rand(3, 2), torch.ones(5))
    with pytest.raises(ShapeError, match="binary"):
        losses.BinaryCrossentropy()(torch.rand(3, 2), torch.rand(3, 4))
    with pytest.raises(ShapeError, match="rank 2"):
        losses.CTC()(torch.ones(3), torch.rand(3, 4, 2))


def test_unusable_arguments():
    with pytest.raises(ArgumentError, match="sum_over_batch_size"):
        losses.MeanSquaredError(reduction="average")
    with pytest.raises(ArgumentTypeError):
        losses.CategoricalCrossentropy(axis=True)(torch.rand(2, 2), torch.rand(2, 2))
    with pytest.raises(ArgumentError):
        losses.CategoricalGeneralizedCrossEntropy(q=1.0)
    with pytest.raises(ArgumentTypeError):
        losses.LossFunctionWrapper("mse")  # type: ignore[arg-type]


def test_unknown_names_give_the_nearest():
    with pytest.raises(UnknownNameError, match="mean_squared_error"):
        losses.get("mean_square_error")
    with pytest.raises(FileError):
        losses.deserialize({"class_name": "NoSuchLoss", "config": {}})


def test_get():
    assert losses.get(None) is None
    assert losses.get("mse") is losses.mean_squared_error is losses.get("MSE")
    assert isinstance(losses.get("Huber"), losses.Huber)
    assert isinstance(losses.get(losses.Huber), losses.Huber)
    assert losses.get({"class_name": "Huber", "config": {"delta": 2.0}}).delta == 2.0
    function = lambda y_true, y_pred: y_pred  # noqa: E731
    assert losses.get(function) is function
    assert losses.deserialize("mse") is losses.mean_squared_error
    assert losses.deserialize("mine", custom_objects={"mine": function}) is function


def test_arguments_that_keras_forgets_are_kept():
    for loss in (
        losses.Huber(delta=3.0),
        losses.CosineSimilarity(axis=1),
        losses.SparseCategoricalCrossentropy(axis=1),
        losses.MeanSquaredError(dtype="float64"),
    ):
        again = losses.deserialize(losses.serialize(loss))
        assert again.get_config() == loss.get_config() and again.dtype == loss.dtype
    assert losses.deserialize(losses.serialize(losses.Huber(delta=3.0))).delta == 3.0


def test_wrapper_round_trip():
    wrapper = losses.LossFunctionWrapper(losses.huber, name="mine", delta=2.0)
    again = losses.deserialize(losses.serialize(wrapper))
    x, y = torch.rand(4, 2), 5 * torch.rand(4, 2)
    assert again.name == "mine" and torch.equal(again(x, y), wrapper(x, y))


class Worst(losses.Loss):
    def __init__(self, power=1.0, **kwargs):
        super().__init__(**kwargs)
        self.power = power

    def call(self, y_true, y_pred):
        return (y_true - y_pred).abs().amax(-1) ** self.power


def test_a_loss_of_ones_own():
    loss = Worst(power=2.0, reduction="sum")
    assert float(loss([[0.0, 0.0]], [[1.0, 3.0]])) == 9.0
    assert Worst.from_config(loss.get_config()).power == 2.0
    assert loss.name == "worst"
    with pytest.raises(NotImplementedError):
        losses.Loss()(torch.ones(1), torch.ones(1))


def test_several_outputs_at_once():
    loss = losses.LossFunctionWrapper(lambda y, p: (y[0] - p[0]).abs().sum(-1) + (y[1] - p[1]).abs().sum(-1))
    value = loss([torch.zeros(2, 1), torch.zeros(2, 1)], [torch.ones(2, 1), torch.ones(2, 1)])
    assert float(value) == 2.0


def test_copies():
    loss = losses.Huber(delta=2.0)
    x, y = torch.rand(4, 2), 5 * torch.rand(4, 2)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other(x, y), loss(x, y))


def test_cosine_of_zeros_has_a_gradient():
    prediction = torch.zeros(2, 3, requires_grad=True)
    losses.CosineSimilarity()(torch.ones(2, 3), prediction).backward()
    assert prediction.grad is not None and bool(prediction.grad.isfinite().all())


def test_compiles():
    compiled = torch.compile(losses.MeanSquaredError(), backend="eager", fullgraph=True)
    x, y = torch.rand(4, 2), torch.rand(4, 2)
    assert torch.equal(compiled(x, y), losses.MeanSquaredError()(x, y))


def test_ignored_rows_have_no_gradient():
    for row in ([0.0, 0.0], [float("nan"), 1.0]):
        y_pred = torch.tensor([[0.4, 0.6], row], requires_grad=True)
        losses.SparseCategoricalCrossentropy(ignore_class=1)(torch.tensor([0, 1]), y_pred).backward()
        assert y_pred.grad is not None and y_pred.grad[1].tolist() == [0.0, 0.0] and y_pred.grad[0].all()


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range(label):
    with pytest.raises(DataError, match=f"label {label} "):
        losses.categorical_generalized_cross_entropy([label], [[0.2, 0.3, 0.5]], 0.5)
