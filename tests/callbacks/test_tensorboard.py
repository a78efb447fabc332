"""Event files, read back as TensorBoard reads them."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def

from lamina import layers
from lamina.callbacks import Callback, CallbackList, TensorBoard
from lamina.callbacks.tensorboard import _picture
from lamina.core.errors import ArgumentError, MissingPackageError
from lamina.models import Model, Sequential
from lamina.optimizers import SGD, MultiOptimizer, OptimizerMap, schedules

X = np.random.default_rng(0).random((12, 6, 6, 1)).astype("float32")
Y = np.ones((12, 1), "float32")


def small(optimizer="sgd"):
    model = Sequential([layers.Input((6, 6, 1)), layers.Conv2D(3, 6), layers.Flatten(), layers.Dense(1)], name="net")
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def fit(folder, model=None, **options):
    model = model or small()
    fitting = {"validation_data": (X, Y), "batch_size": 4, "epochs": 2, "verbose": 0}
    model.fit(X, Y, **fitting, callbacks=[TensorBoard(folder, **options)])
    return model


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


def steps(events, tag):
    return [event.step for event in events.Scalars(tag)]


def test_results_of_epochs_have_the_names_of_keras(tmp_path):
    model = fit(tmp_path)
    train, held_out = read(tmp_path / "train"), read(tmp_path / "validation")
    assert set(train.Tags()["scalars"]) == {"epoch_loss", "epoch_mae", "epoch_learning_rate"}
    names = {"epoch_loss", "epoch_mae", "evaluation_loss_vs_iterations", "evaluation_mae_vs_iterations"}
    assert set(held_out.Tags()["scalars"]) == names
    assert steps(train, "epoch_loss") == [0, 1] and steps(held_out, "evaluation_loss_vs_iterations") == [3, 6]
    history = model.history.history
    assert [e.value for e in train.Scalars("epoch_mae")] == pytest.approx(history["mae"])
    assert [e.value for e in held_out.Scalars("epoch_loss")] == pytest.approx(history["val_loss"])
    assert train.Scalars("epoch_learning_rate")[0].value == pytest.approx(0.01)


def test_one_file_for_each_run_of_fit_and_none_too_many(tmp_path):
    model = small()
    model.fit(X, Y, verbose=0, callbacks=[TensorBoard(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
    fit(tmp_path / "again", model)
    fit(tmp_path / "again", model)
    assert steps(read(tmp_path / "again" / "train"), "epoch_loss") == [0, 1, 0, 1]


def test_between_epochs_it_costs_nothing(tmp_path):
    callbacks = CallbackList([TensorBoard(tmp_path, write_graph=False)])
    assert not callbacks.hooks("on_train_batch_end") and not callbacks.hooks("on_train_batch_begin")

    class Own(TensorBoard):
        def on_train_batch_end(self, batch, logs=None): ...

    assert CallbackList([Own(tmp_path)]).hooks("on_train_batch_end")


def test_results_of_batches_are_fetched_only_when_due(tmp_path):
    reads = []

    class Look(Callback):
        keeps_logs = False

        def on_train_batch_end(self, batch, logs=None):
            reads.append(logs._numbers is not None)

    model = small()
    callback = TensorBoard(tmp_path, update_freq=2, write_steps_per_second=True)
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[callback, Look()])
    train = read(tmp_path / "train")
    assert reads == [False, True, False, True, False, True]
    assert steps(train, "batch_loss") == steps(train, "batch_steps_per_second") == [2, 4, 6]
    assert all(event.value > 0 for event in train.Scalars("epoch_steps_per_second"))


def test_histograms_and_pictures(tmp_path):
    model = fit(tmp_path, histogram_freq=2, write_images=True)
    train = read(tmp_path / "train")
    names = {weight.path for weight in model.weights}
    assert set(train.Tags()["histograms"]) == {f"{name}/histogram" for name in names}
    assert set(train.Tags()["images"]) == {f"{name}/image" for name in names if not name.endswith("dense/bias")}
    assert [event.step for event in train.Histograms("net/conv2d/kernel/histogram")] == [0]
    assert train.Histograms("net/conv2d/kernel/histogram")[0].histogram_value.num == 108


def test_forms_of_pictures():
    assert _picture(np.arange(3.0)).shape == (1, 3, 1, 1)
    assert _picture(np.zeros((7, 2))).shape == (1, 2, 7, 1)
    assert _picture(np.zeros((4, 5, 1, 3))).shape == (3, 4, 5, 1)
    assert _picture(np.zeros((4, 5, 2, 3))) is None and _picture(np.full(3, np.nan)) is None
    assert _picture(np.array([-1.0, 0.0, 3.0])).ravel().tolist() == [0, 63, 255]


@pytest.mark.parametrize("functional", [False, True])
def test_tensorboard_can_draw_the_graph(tmp_path, functional):
    model = small()
    if functional:
        x = layers.Input((3,), name="given")
        model = Model(x, layers.Add(name="sum")([layers.Dense(3, name="a")(x), x]))
    TensorBoard(tmp_path).set_model(model)
    found = read(tmp_path / "train").Tensors("keras")[0].tensor_proto.string_val[0]
    graph = keras_model_to_graph_def(json.loads(found))
    nodes = {node.name.rpartition("/")[2]: [name.rpartition("/")[2] for name in node.input] for node in graph.node}
    if functional:
        assert nodes["sum"] == ["a", "given"]
    else:
        assert nodes["dense"] == ["flatten"] and nodes["flatten"] == ["conv2d"]


def test_a_profile(tmp_path):
    fit(tmp_path, profile_batch=(2, 3))
    (trace,) = (tmp_path / "train").glob("*.pt.trace.json")
    assert any("conv" in event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"])


def test_what_batches_to_profile():
    def batches(given):
        callback = TensorBoard(profile_batch=given)
        return callback._start_batch, callback._stop_batch

    assert [batches(given) for given in (0, 3, "3", "2,4", (2, 4))] == [(0, 0), (3, 3), (3, 3), (2, 4), (2, 4)]
    for wrong in (-1, (4, 2), "a", (1, 2, 3), 1.5, None):
        with pytest.raises(ArgumentError, match="profile_batch"):
            TensorBoard(profile_batch=wrong)


def test_embeddings_can_be_projected(tmp_path):
    model = Sequential([layers.Input((5,)), layers.Embedding(10, 4, name="words"), layers.Dense(1)])
    model.compile("sgd", "mse")
    callback = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"words": "labels.tsv"})
    model.fit(np.ones((4, 5)), np.ones((4, 5, 1)), verbose=0, callbacks=[callback])
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert 'metadata_path: "labels.tsv"' in config and 'tensor_path: "words.tsv"' in config
    np.testing.assert_allclose(np.loadtxt(tmp_path / "words.tsv"), model.layers[0].embeddings.numpy(), rtol=1e-4)
    assert (tmp_path / "train" / "keras_embedding.ckpt-0.weights.h5").exists()
    with pytest.raises(ArgumentError, match="word"):
        TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"word": "a"}).set_model(model)


def test_projector_reads_the_config(tmp_path):
    projector = pytest.importorskip("tensorboard.plugins.projector.projector_config_pb2")
    from google.protobuf import text_format

    model = Sequential([layers.Input((5,)), layers.Embedding(10, 4, name="words")])
    TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata="all.tsv").set_model(model)
    text = (tmp_path / "projector_config.pbtxt").read_text()
    config = text_format.Parse(text, projector.ProjectorConfig())
    assert config.embeddings[0].tensor_path == "words.tsv" and config.embeddings[0].metadata_path == "all.tsv"


def test_learning_rates(tmp_path):
    fit(tmp_path / "schedule", small(SGD(schedules.ExponentialDecay(0.01, 3, 0.5))))
    rates = [event.value for event in read(tmp_path / "schedule" / "train").Scalars("epoch_learning_rate")]
    assert rates == pytest.approx([0.005, 0.0025])
    fit(
        tmp_path / "two",
        small(MultiOptimizer(OptimizerMap(SGD(0.001, name="one"), {".*bias": SGD(0.002, name="two")}))),
    )
    tags = read(tmp_path / "two" / "train").Tags()["scalars"]
    assert {"epoch_learning_rate_one", "epoch_learning_rate_two"} <= set(tags)


def test_evaluation_alone_and_summaries_of_ones_own(tmp_path):
    callback = TensorBoard(tmp_path)
    small().evaluate(X, Y, verbose=0, callbacks=[callback])
    callback.summary.add_scalar("mine", 2.0, 5)
    callback.on_train_end()
    assert steps(read(tmp_path / "validation"), "evaluation_loss_vs_iterations") == [0]
    assert steps(read(tmp_path / "train"), "mine") == [5]


def test_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError, match=r"lamina\[tensorboard\]"):
        fit(tmp_path)
