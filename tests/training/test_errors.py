"""What a user is told when data, model and compile() do not go together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lamina import layers
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    ShapeError,
    StateError,
    UnknownNameError,
)
from lamina.losses import BinaryCrossentropy
from lamina.metrics import AUC, BinaryAccuracy
from lamina.models import Model, Sequential
from lamina.optimizers import SGD

X = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
LABELS = np.arange(20) % 3


def dense(units=1, activation=None, shape=(4,), **options):
    model = Sequential([layers.Input(shape=shape), layers.Dense(units, activation=activation)])
    model.compile("sgd", **{"loss": "mse", **options})
    return model


def fit(model, x=X, y=X[:, :1], **options):
    return model.fit(x, y, **{"verbose": 0, **options})


def test_not_compiled():
    model = Sequential([layers.Dense(1)])
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(StateError, match="compile"):
            call(X, X)
    assert model.predict(X, verbose=0).shape == (20, 1)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"optimizer": "adm"}, "adam"),
        ({"loss": "mean_square_error"}, "mean_squared_error"),
        ({"loss": ["sparse_categorical_crossentrpy"]}, "sparse_categorical_crossentropy"),
        ({"metrics": ["acuracy"]}, "accuracy"),
        ({"weighted_metrics": {"dense": ["mean_absolut_error"]}}, "mean_absolute_error"),
    ],
)
def test_unknown_names_are_found_by_compile(options, hint):
    model = Sequential([layers.Dense(1)])
    with pytest.raises(UnknownNameError, match=hint):
        model.compile(**{"loss": "mse", **options})


def test_arguments_of_compile():
    model = Sequential([layers.Dense(1)])
    with pytest.raises(ArgumentError, match=r"metrics=\['mae'\]"):
        model.compile(loss="mse", metrics="mae")
    with pytest.raises(ArgumentError, match="loss_weights"):
        model.compile(loss="mse", loss_weights="2")
    with pytest.raises(ArgumentError, match="steps_per_execution"):
        model.compile(loss="mse", steps_per_execution=0)


def test_arguments_of_fit():
    model = dense()
    for batch_size in (0, -3, 2.5):
        with pytest.raises(ArgumentError, match="batch_size"):
            fit(model, batch_size=batch_size)
    with pytest.raises(ArgumentError, match="validation_batch_size"):
        fit(model, validation_batch_size=0, validation_split=0.5)
    with pytest.raises(ArgumentError, match="verbose"):
        fit(model, verbose=7)
    with pytest.raises(ArgumentError, match="validation_freq"):
        fit(model, validation_freq=0)
    with pytest.raises(ArgumentError, match="steps"):
        fit(model, steps_per_epoch=-1)
    with pytest.raises(ArgumentError, match="Unknown arguments"):
        model.evaluate(X, X, batchsize=3)


def test_lengths():
    with pytest.raises(DataError, match="x: 20, y: 19"):
        fit(dense(), y=np.zeros(19))
    with pytest.raises(DataError, match="sample_weight: 3"):
        fit(dense(), sample_weight=np.ones(3))
    with pytest.raises(DataError, match="empty"):
        fit(dense(), x=X[:0], y=X[:0, :1])
    with pytest.raises(DataError, match="no data"):
        dense().fit(None, None)


def test_pictures_into_a_dense_model():
    pictures = np.zeros((20, 28, 28, 1), "float32")
    with pytest.raises(ShapeError, match=r"28x28x1 = 784.*Flatten") as caught:
        fit(dense(shape=(784,)), x=pictures)
    assert "received: (samples, 28, 28, 1)" in str(caught.value) and "(None, 784)" in str(caught.value)
    with pytest.raises(ShapeError, match="784"):
        dense(shape=(784,)).predict(pictures, verbose=0)


def test_other_shapes():
    with pytest.raises(ShapeError, match="4 features in a sample, the data has 5"):
        fit(dense(), x=np.zeros((20, 5)))
    with pytest.raises(ShapeError, match="channels come first"):
        dense(shape=(8, 8, 3)).predict(np.zeros((2, 3, 8, 8)), verbose=0)
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        dense(shape=(8, 4)).predict(np.zeros((8, 4)), verbose=0)
    with pytest.raises(ShapeError, match="last axis of size 3"):
        dense(shape=(8, 8, 3)).predict(np.zeros((2, 8, 8)), verbose=0)


def test_number_and_names_of_inputs():
    a, b = layers.Input(shape=(2,), name="left"), layers.Input(shape=(2,), name="right")
    model = Model([a, b], layers.Dense(1)(layers.Add()([a, b])))
    model.compile("sgd", loss="mse")
    with pytest.raises(DataError, match=r"2 \(left, right\)"):
        fit(model, x=X[:, :2])
    with pytest.raises(ArgumentError, match='"right"'):
        fit(model, x={"left": X[:, :2], "rigth": X[:, 2:]})
    with pytest.raises(DataError, match=r"np\.stack"):
        fit(dense(), x=list(X), y=np.zeros(4))


def test_targets_of_several_outputs():
    x = layers.Input(shape=(4,))
    model = Model(x, [layers.Dense(1, name="size")(x), layers.Dense(3, name="kind")(x)])
    y = {"size": X[:, :1], "kind": X[:, :3]}
    model.compile("sgd", loss={"size": "mse", "kynd": "mse"})
    with pytest.raises(ArgumentError, match=r'"kynd".*"kind"'):
        fit(model, y=y)
    model.compile("sgd", loss=["mse", "mse", "mse"])
    with pytest.raises(ArgumentError, match="2 entries"):
        fit(model, y=y)
    model.compile("sgd", loss="mse")
    with pytest.raises(DataError, match=r'"sise".*"size"'):
        fit(model, y={"sise": X[:, :1], "kind": X[:, :3]})
    with pytest.raises(DataError, match="lacks the target"):
        fit(model, y={"size": X[:, :1]})
    with pytest.raises(DataError, match="2 arrays"):
        fit(model, y=X[:, :1])
    model.compile("sgd", loss="mse", metrics={"kind": ["mae"], "color": ["mae"]})
    with pytest.raises(ArgumentError, match='"color"'):
        fit(model, y=y)


@pytest.mark.parametrize(
    ("units", "y"), [(1, X[:, :3]), (3, X[:, :1]), (3, X[:, 0]), (2, X[:, :3]), (1, np.zeros((20, 1, 2)))]
)
def test_targets_that_would_broadcast(units, y):
    with pytest.raises(ShapeError, match="differ in shape"):
        fit(dense(units), y=y)


def test_targets_that_fit_with_an_axis_of_one():
    fit(dense(), y=X[:, 0])
    fit(dense(3), y=X[:, :3, None])
    fit(dense(loss=lambda t, p: (t - p).mean(-1)), y=X[:, :3])


def test_one_hot_and_class_numbers():
    sparse = dense(3, "softmax", loss="sparse_categorical_crossentropy")
    with pytest.raises(ShapeError, match="categorical_crossentropy"):
        fit(sparse, y=np.eye(3)[LABELS])
    fit(sparse, y=LABELS)
    fit(sparse, y=LABELS[:, None])
    one_hot = dense(3, "softmax", loss="categorical_crossentropy")
    for y in (LABELS, LABELS[:, None]):
        with pytest.raises(ShapeError, match="sparse_categorical_crossentropy"):
            fit(one_hot, y=y)


def test_class_numbers_out_of_range():
    model = dense(3, "softmax", loss="sparse_categorical_crossentropy")
    with pytest.raises(DataError, match=r"class number 3, but the model has 3 classes(.|\n)*4 units"):
        fit(model, y=LABELS + 1)
    with pytest.raises(DataError, match="class number -1"):
        fit(model, y=LABELS - 1)
    with pytest.raises(DataError, match="class number 3"):
        fit(model, y=LABELS, validation_data=(X, LABELS + 1))
    from lamina import losses

    model.compile("sgd", loss=losses.SparseCategoricalCrossentropy(ignore_class=-1))
    fit(model, y=LABELS - (LABELS == 0))


def test_nan_in_targets():
    y = X[:, :1].copy()
    y[7] = np.nan
    with pytest.raises(DataError, match="1 of 20 samples, the first at index 7"):
        fit(dense(), y=y)


@pytest.mark.filterwarnings("ignore:A softmax over axis")
def test_losses_and_last_activations():
    for activation in ("sigmoid", "softmax"):
        with pytest.raises(ArgumentError, match="cannot learn from one unit"):
            fit(dense(1, activation, loss="categorical_crossentropy"))
    with pytest.raises(ArgumentError, match="binary_crossentropy"):
        fit(dense(1, "softmax", loss="binary_crossentropy"), y=LABELS > 0)
    with pytest.warns(UserWarning, match=r'activation="sigmoid" there, or the loss with from_logits=True'):
        fit(dense(1, loss="binary_crossentropy"), y=LABELS > 0)
    with pytest.warns(UserWarning, match='activation="softmax"'):
        fit(dense(3, loss="sparse_categorical_crossentropy"), y=LABELS)
    from lamina import losses

    fit(dense(1, loss=losses.BinaryCrossentropy(from_logits=True)), y=LABELS > 0)


def test_streams():
    def batches():
        yield X, X[:, :1]

    with pytest.raises(DataError, match="validation_data"):
        dense().fit(batches(), validation_split=0.2)
    with pytest.raises(DataError, match="y cannot be given beside a generator"):
        dense().fit(batches(), X)
    with pytest.raises(DataError, match="get its generator"):
        dense().fit(batches)
    with pytest.raises(DataError, match="gave no batch"):
        dense().fit(iter(()))
    loader = DataLoader(TensorDataset(torch.zeros(8, 5), torch.zeros(8, 1)))
    with pytest.raises(ShapeError, match="the data has 5"):
        dense().fit(loader)


def test_class_weight_with_sample_weight():
    with pytest.raises(DataError, match="together"):
        fit(dense(), class_weight={0: 1.0}, sample_weight=np.ones(20))
    with pytest.raises(DataError, match="both given"):
        dense().train_on_batch(X, X[:, 0], sample_weight=np.ones(20), class_weight={0: 1.0})


def test_data_of_unknown_kinds():
    with pytest.raises(DataError, match="not known"):
        dense().fit(object(), X)
    with pytest.raises(DataError, match="does not hold numbers"):
        fit(dense(), x=np.array([["a"] * 4] * 20))
    with pytest.raises(DataError, match="no target"):
        dense().fit(X, verbose=0)


@pytest.mark.parametrize(
    ("shape", "loss", "y"),
    [
        ((28, 28), "sparse_categorical_crossentropy", np.zeros(8)),
        ((28, 28), "sparse_categorical_crossentropy", np.zeros((8, 1))),
        ((28, 28), "categorical_crossentropy", np.zeros((8, 10))),
        ((28, 28, 1), "mse", np.zeros((8, 10))),
        ((28, 28, 1), "mse", np.zeros(8)),
    ],
)
def test_a_missing_flatten_is_named(shape, loss, y):
    model = Sequential([layers.Dense(10, activation="softmax")])
    model.compile("sgd", loss)
    with pytest.raises(ShapeError, match=r"axes that the targets do not have(.|\n)*Flatten\(\)"):
        model.fit(np.zeros((8, *shape)), y, verbose=0)


def test_targets_for_each_place_of_a_sample_fit():
    for places in (1, 5):
        model = Sequential([layers.Dense(3, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(np.zeros((8, places, 4)), np.zeros((8, places)), verbose=0)
        model.fit(np.zeros((8, places, 4)), np.zeros((8, places, 1)), verbose=0)


def test_labels_that_start_at_one():
    with pytest.raises(DataError, match=r"number the classes from 0 \(y - 1\), or give the last layer 4 units"):
        fit(dense(3, "softmax", loss="sparse_categorical_crossentropy"), y=LABELS + 1)
    with pytest.raises(DataError, match="binary_crossentropy"):
        fit(dense(1, "sigmoid", loss="sparse_categorical_crossentropy"), y=LABELS)


def test_values_that_spoil_the_training_are_warned_of():
    x = X.copy()
    x[3, 1] = np.nan
    with pytest.warns(UserWarning, match="x holds NaN or infinity in 1 of 20 samples, the first at index 3"):
        fit(dense(), x=x)
    with pytest.warns(UserWarning, match="y holds values from 0 to 2, but binary_crossentropy expects 0 to 1"):
        fit(dense(1, "sigmoid", loss="binary_crossentropy"), y=LABELS)


@pytest.mark.parametrize("epochs", [-1, 2.5, "3"])
def test_epochs(epochs):
    with pytest.raises(ArgumentError, match="epochs is no count"):
        fit(dense(), epochs=epochs)


@pytest.mark.parametrize("weights", [[1, 2, 3], "balanced"])
def test_class_weight_of_another_type(weights):
    with pytest.raises(ArgumentTypeError, match=r"dict\(enumerate\(weights\)\)"):
        fit(dense(), class_weight=weights)


def test_metrics_in_the_place_of_loss_weights():
    with pytest.raises(ArgumentError, match=r"metrics=\[...\]"):
        Sequential([layers.Dense(1)]).compile("sgd", "mse", ["accuracy"])


def test_losses_that_cannot_be_learnt_from():
    with pytest.raises(ArgumentTypeError, match="return the result"):
        fit(dense(loss=lambda y_true, y_pred: None))
    with pytest.raises(StateError, match="no gradient"):
        fit(dense(loss=lambda y_true, y_pred: (y_pred.detach() - y_true) ** 2))


def test_generators_that_yield_what_does_not_fit():
    with pytest.raises(DataError, match="x: 8, y: 7"):
        dense().fit(iter([(X[:8], X[:7, :1])]), verbose=0)
    with pytest.raises(DataError, match="text"):
        dense().fit(iter([("a.png", "b.png")]), verbose=0)


def test_a_dict_for_a_model_of_one_tensor():
    model = Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ShapeError, match="not a dict"):
        model.fit({"a": X}, X[:, :1], verbose=0)


def test_the_input_counts_the_samples():
    with pytest.raises(ShapeError, match=r"Input\(shape=\(4,\)\)"):
        fit(dense(shape=(20, 4)))


def test_a_lost_loss_is_warned_of_once():
    model = dense()
    model.compile(SGD(1e20), "mse")
    with pytest.warns(UserWarning, match="learning rate 1e\\+20 may be too large") as caught:
        fit(model, epochs=3)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="logarithm or root"):
        fit(dense(loss=lambda y_true, y_pred: torch.log(y_pred - 100)))


def test_metrics_that_say_nothing():
    with pytest.warns(UserWarning, match='use "mae"|for numbers use'):
        fit(dense(metrics=["accuracy"]))
    logits = BinaryCrossentropy(from_logits=True)
    with pytest.warns(UserWarning, match=r"AUC\(from_logits=True\)"):
        fit(dense(loss=logits, metrics=["AUC"]), y=(X[:, :1] > 0).astype("float32"))
    fit(dense(loss=logits, metrics=[AUC(from_logits=True), BinaryAccuracy(threshold=0.0)]), y=(X[:, :1] > 0) * 1.0)


def test_layers_without_gradient_are_named_once():
    class Unused(Model):
        def __init__(self):
            super().__init__()
            self.used, self.unused = layers.Dense(1), layers.Dense(2, name="idle")

        def call(self, x):
            self.unused(x)
            return self.used(x)

    model = Unused()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="idle/kernel.*idle/bias") as caught:
        fit(model, epochs=2, batch_size=5)
    assert len(caught) == 1
