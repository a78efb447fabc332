"""Each error of callbacks, distillation, export and the commands, provoked."""

import numpy as np
import pytest
from tests.errors.refusing import refused

import lamina
from lamina import callbacks, datasets, distillation, layers, saving, utils
from lamina.cli import demo
from lamina.cli.convert import convert_file
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from lamina.distillation import Distiller, FeatureDistillation, LogitsDistillation
from lamina.export import ExportArchive

X, Y = np.ones((8, 4), "float32"), np.ones(8, "float32")


def model(units=1):
    made = lamina.Sequential([layers.Input((4,)), layers.Dense(units)])
    made.compile("sgd", "mse")
    return made


def fit(*given):
    model().fit(X, Y, verbose=0, callbacks=list(given))


def unfitting():
    made = model()
    made.optimizer = object()
    callback = callbacks.LearningRateScheduler(lambda epoch: 0.1)
    callback.set_model(made)
    callback.on_epoch_begin(0)


class Vector(distillation.DistillationLoss):
    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return (teacher_outputs - student_outputs)[:, 0]

    def validate_outputs(self, teacher_outputs, student_outputs):
        pass


class Unwritten(distillation.DistillationLoss):
    pass


class Counting(lamina.Layer):
    def call(self, x):
        return x.histc(bins=3)


def distill(*given, teacher=None, **options):
    return Distiller(teacher or model(), model(), *given, **options)


def trained(loss):
    made = distill(loss)
    made.compile("sgd", "mse")
    made.fit(X, Y, verbose=0)


def different_dtypes():
    return Distiller(outputs_of("int32"), outputs_of("float32"), LogitsDistillation())


def outputs_of(dtype):
    x = lamina.Input((4,))
    return lamina.Model(x, lamina.ops.cast(x, dtype))


def archive(method, *given, **options):
    getattr(ExportArchive(), method)(*given, **options)


def unwritable():
    lamina.Sequential([layers.Input((4,)), Counting()]).export("m.onnx", format="onnx", verbose=False)


CASES = {
    "no callback": (lambda: fit(lambda: 0), ArgumentTypeError, "LambdaCallback"),
    "class": (lambda: fit(callbacks.History), ArgumentTypeError, "write History()"),
    "no backup": (lambda: callbacks.BackupAndRestore(None), ArgumentError, "backup_dir=..."),
    "backup's steps": (lambda: callbacks.BackupAndRestore("b", save_freq=0), ArgumentError, "save_freq=..."),
    "backup outside": (lambda: callbacks.BackupAndRestore("b").on_train_end(), StateError, "callbacks=[Backup"),
    "hook": (lambda: callbacks.LambdaCallback(on_epoch_ends=print), ArgumentTypeError, 'mean "on_epoch_end"'),
    "hook's function": (lambda: callbacks.LambdaCallback(on_epoch_end=5), ArgumentTypeError, "a function"),
    "no rate": (unfitting, StateError, 'optimizer="adam"'),
    "schedule": (lambda: callbacks.LearningRateScheduler(0.1), ArgumentTypeError, "(epoch, rate)"),
    "no new rate": (lambda: fit(callbacks.LearningRateScheduler(lambda e: None)), ArgumentTypeError, "`return`"),
    "factor": (lambda: callbacks.ReduceLROnPlateau(factor=2.0), ArgumentError, "factor=..."),
    "factor of text": (lambda: callbacks.ReduceLROnPlateau(factor="a"), ArgumentTypeError, "factor=..."),
    "patience": (lambda: callbacks.EarlyStopping(patience=-1), ArgumentError, "EarlyStopping(patience=...)"),
    "min_delta": (lambda: callbacks.EarlyStopping(min_delta="a"), ArgumentTypeError, "min_delta=..."),
    "monitor": (lambda: fit(callbacks.EarlyStopping("val_los")), ArgumentError, "not among the results"),
    "direction": (lambda: fit(callbacks.EarlyStopping("size")), ArgumentError, "size"),
    "checkpoint's path": (lambda: callbacks.ModelCheckpoint(None), ArgumentTypeError, "a path"),
    "checkpoint's ending": (lambda: callbacks.ModelCheckpoint("a.kears"), ArgumentError, ".keras or .h5"),
    "checkpoint's steps": (lambda: callbacks.ModelCheckpoint("a.keras", save_freq=0), ArgumentError, "save_freq=..."),
    "checkpoint's name": (lambda: fit(callbacks.ModelCheckpoint("{epochs}.keras")), ArgumentError, 'mean "epoch"'),
    "checkpoint's pattern": (lambda: fit(callbacks.ModelCheckpoint("{epoch:s}.keras")), ArgumentError, "{epoch:02d}"),
    "table": (lambda: callbacks.CSVLogger(None), ArgumentTypeError, "CSVLogger(filename)"),
    "TensorBoard": (lambda: callbacks.TensorBoard(histogram_freq="a"), ArgumentTypeError, "histogram_freq=..."),
    "profile": (lambda: callbacks.TensorBoard(profile_batch="a"), ArgumentError, "profile_batch=..."),
    "NaN": (lambda: callbacks.TerminateOnNaN(True).on_batch_end(3, {"loss": np.nan}), RuntimeError, "batch 3"),
    "averages": (
        lambda: fit(callbacks.SwapEMAWeights(swap_on_epoch=True)),
        StateError,
        "use_ema=True",
    ),
    "bar's metrics": (
        lambda: utils.Progbar(1, stateful_metrics=[], stateless_metrics=[]),
        ArgumentError,
        "leave one of them out",
    ),
    "bar's target": (lambda: utils.Progbar("a"), ArgumentTypeError, "Progbar(target)"),
    "teacher": (lambda: Distiller(1, model(), LogitsDistillation()), ArgumentError, "Distiller(teacher=...)"),
    "weight": (lambda: distill(LogitsDistillation(), student_loss_weight=2), ArgumentError, "0 to 1"),
    "no loss": (lambda: distill(None), ArgumentError, "LogitsDistillation()"),
    "loss by name": (lambda: distill("kl"), ArgumentTypeError, "LogitsDistillation()"),
    "weights": (lambda: distill([LogitsDistillation()], [1.0, 2.0]), ArgumentError, "1 weights"),
    "weights no list": (lambda: distill([LogitsDistillation()], 1.0), ArgumentTypeError, "a list of numbers"),
    "loss on targets": (lambda: distill(LogitsDistillation()).compile("sgd"), ArgumentError, "compile(loss="),
    "metrics": (
        lambda: distill(LogitsDistillation()).compile("sgd", "mse", metrics="mae"),
        ArgumentError,
        'metrics=["accuracy"]',
    ),
    "vector": (lambda: trained(Vector()), ShapeError, "Vector.compute_loss()"),
    "unwritten": (lambda: Unwritten().compute_loss(X, X), UnsupportedError, "def compute_loss"),
    "sizes": (lambda: distill(LogitsDistillation(), teacher=model(units=2)), ShapeError, "differ in shape"),
    "dtypes": (different_dtypes, ArgumentError, "differ in dtype"),
    "layer": (lambda: distill(FeatureDistillation("mse", "dens", "a")), ArgumentError, "teacher_layer_name=..."),
    "temperature": (lambda: LogitsDistillation(temperature=0), ArgumentError, "e.g. 3.0"),
    "losses": (lambda: FeatureDistillation(loss=None), ArgumentError, "kl_divergence"),
    "archive": (lambda: ExportArchive("m"), ArgumentTypeError, "archive.track(model)"),
    "track": (lambda: archive("track", 5), ArgumentTypeError, "torch.nn.Module"),
    "not built": (lambda: archive("track", layers.Dense(2)), StateError, "call it on data once"),
    "endpoint's arguments": (lambda: archive("add_endpoint", "serve", model(), jit=True), ArgumentError, "jit"),
    "endpoint's name": (lambda: archive("add_endpoint", "a b", model()), ArgumentError, "underscores"),
    "endpoint's number": (lambda: archive("add_endpoint", 5, model()), ArgumentTypeError, '"serve"'),
    "endpoint": (lambda: archive("add_endpoint", "serve", 5), ArgumentTypeError, "a function"),
    "function's inputs": (lambda: archive("add_endpoint", "serve", abs), ArgumentError, "input_signature=["),
    "collection": (lambda: archive("add_variable_collection", "a", 5), ArgumentTypeError, "model.weights"),
    "options": (lambda: archive("write_out", "m", options={}), ArgumentError, "leave options out"),
    "no endpoint": (lambda: archive("write_out", "m"), StateError, "add_endpoint(name, model)"),
    "format": (lambda: model().export("m.onnx", format="onx"), ArgumentError, 'mean "onnx"'),
    "ending": (lambda: model().export("m.onnx", format="litert"), ArgumentError, ".tflite"),
    "operation": (unwritable, UnsupportedError, "export of 'sequential"),
    "spec": (
        lambda: model().export("m.onnx", format="onnx", input_signature=[5]),
        ArgumentTypeError,
        "lamina.InputSpec(shape=..., dtype=...)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*CASES[case])


def test_a_file_without_arrays_is_not_converted(tmp_path):
    (tmp_path / "weights.txt").write_text("")
    with pytest.raises(ArgumentError, match="or one of .*safetensors"):
        convert_file(tmp_path / "weights.txt", tmp_path / "m.safetensors")


def test_the_demo_compares_the_model_that_was_saved(tmp_path, monkeypatch):
    (x, y), _ = datasets.digits.load_data()
    monkeypatch.setattr(datasets.digits, "load_data", lambda: ((x[:32], y[:32]), (x[:8], y[:8])))
    monkeypatch.setattr(saving, "load_model", lambda path: demo.build_model())
    monkeypatch.setattr(demo, "plot_history", lambda *_, **__: None)
    monkeypatch.setattr(demo, "draw_predictions", lambda *_, **__: None)
    with pytest.raises(StateError, match=r"m\.keras"):
        demo.show_demo(tmp_path, 1)
