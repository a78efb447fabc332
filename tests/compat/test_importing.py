"""Under which names lamina answers, and for what."""

from __future__ import annotations

import importlib
import sys

import pytest

import lamina
from lamina import compat, layers, ops
from lamina.compat.names import MODULES, OBJECTS, Old
from lamina.core.errors import MissingPackageError


@pytest.fixture(autouse=True)
def _installed():
    compat.install()
    yield
    compat.uninstall()


@pytest.mark.parametrize("root", ["keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras"])
def test_every_root_gives_the_same_objects(root):
    module = importlib.import_module(root)
    assert module.layers.Dense is layers.Dense
    assert importlib.import_module(f"{root}.layers").Dense is layers.Dense
    assert importlib.import_module(f"{root}.layers") is module.layers
    assert module.Sequential is lamina.Sequential
    assert module.ops.nn.relu is ops.nn.relu
    assert module.__version__ == module.version() == "3.15.1"


def test_old_module_paths_lead_to_today_s_names():
    for path in (
        "layers.core",
        "layers.convolutional",
        "layers.normalization",
        "layers.advanced_activations",
        "engine.topology",
    ):
        module = importlib.import_module(f"keras.{path}")
        assert module.Dense is layers.Dense, path
    from keras.utils import np_utils

    assert np_utils.to_categorical is lamina.utils.to_categorical
    assert importlib.import_module("keras.engine.training").Model is lamina.Model
    assert importlib.import_module("keras.objectives").mean_squared_error is lamina.losses.mean_squared_error
    assert importlib.import_module("keras.optimizers.legacy").Adam is lamina.optimizers.Adam


def test_old_submodules_are_attributes_too():
    import keras

    assert keras.utils.np_utils.to_categorical is lamina.utils.to_categorical
    assert keras.preprocessing.image.ImageDataGenerator.__name__ == "ImageDataGenerator"
    assert keras.datasets.mnist.load_data is lamina.datasets.mnist.load_data


def test_star_import_brings_public_names_only():
    names: dict[str, object] = {}
    exec("from keras.layers import *", names)
    assert names["Dense"] is layers.Dense
    assert not any(name.startswith("_") for name in names if name != "__builtins__")


def test_unknown_names_fail_as_anywhere():
    import keras

    with pytest.raises(AttributeError, match='Did you mean "Dense"'):
        keras.layers.Dens
    with pytest.raises(ImportError):
        from keras.layers import Nonsense  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("keras.nonsense")
    assert not hasattr(keras.layers, "__wrapped__")


@pytest.mark.parametrize("namespace", OBJECTS)
def test_every_old_object_is_there(namespace, capsys):
    if namespace and not hasattr(lamina, namespace.split(".")[0]) and namespace not in MODULES:
        pytest.skip(f"lamina has no {namespace} yet")
    module = importlib.import_module(f"keras.{namespace}".rstrip("."))
    for name, old in OBJECTS[namespace].items():
        try:
            getattr(module, name)
        except AttributeError as error:
            assert "no counterpart in lamina yet" in str(error)
            assert not isinstance(old, Old) or not old.value.startswith("ops.")


def test_an_old_name_is_reported_at_its_use_only(capsys):
    from keras import backend as K

    dir(K)
    assert capsys.readouterr().err == ""
    K.epsilon()
    assert capsys.readouterr().err == ""
    K.sigmoid([0.0])
    K.sigmoid([1.0])
    assert capsys.readouterr().err == "lamina: keras.backend.sigmoid is an old name; use keras.ops.sigmoid.\n"


def test_uninstalling_brings_back_what_was_there():
    compat.uninstall()
    import keras

    assert keras.__name__ == "keras" and keras.layers.Dense is not layers.Dense
    compat.install()
    again = importlib.import_module("keras")
    assert again.layers.Dense is layers.Dense
    compat.uninstall()
    assert sys.modules["keras"] is keras
    assert not hasattr(lamina.Model, "fit_generator") and not hasattr(lamina.optimizers.Optimizer, "lr")


def test_stand_in_for_tensorflow(capsys):
    import tensorflow as tf

    assert tf.keras.layers.Dense is layers.Dense
    assert "only tf.keras" in capsys.readouterr().err
    for use, message in {
        lambda: tf.math.log(1.0): "tf.math.log.*\n.*\n.*keras.ops.log",
        lambda: tf.nn.relu: "keras.ops.nn.relu",
        lambda: tf.random.set_seed(1): "set_random_seed",
        lambda: tf.random.normal((1,)): "keras.random.normal",
        lambda: tf.data.TFRecordDataset: "torch",
        lambda: tf.compat.v1.Session: r"tf.compat.v1.Session.*\n.*\n.*install tensorflow",
        lambda: tf.Nonsense: r"tf.Nonsense(.|\n)*test_importing.py, line",
    }.items():
        with pytest.raises(AttributeError, match=message):
            use()
    data = tf.data.Dataset.from_tensor_slices(([1.0, 2.0], [3, 4])).batch(2).prefetch(tf.data.AUTOTUNE)
    assert [y.tolist() for _, y in data] == [[3, 4]] and int(tf.data.experimental.cardinality(data)) == 1
    assert not hasattr(tf, "constant")
    with pytest.raises(MissingPackageError, match="tf.contrib"):
        importlib.import_module("tensorflow.contrib")
    with pytest.raises(MissingPackageError, match="tf.examples"):
        from tensorflow.examples.tutorials.mnist import input_data  # noqa: F401
    with pytest.raises(ImportError):
        from tensorflow import function  # noqa: F401


def test_tensorflow_that_is_installed_keeps_all_but_its_keras(tmp_path, monkeypatch):
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '2.99'\nkeras = None\ndef constant(x):\n    return x\n")
    (package / "data.py").write_text("here = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    try:
        tf = importlib.import_module("tensorflow")
        assert tf.__version__ == "2.99" and tf.constant(3) == 3
        assert tf.keras.layers.Dense is layers.Dense
        assert importlib.import_module("tensorflow.keras.layers").Dense is layers.Dense
        assert importlib.import_module("tensorflow.data").here
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
            del sys.modules[name]


def test_star_imports_touch_no_old_module(capsys):
    exec("from keras.models import *\nfrom keras.optimizers import *", {})
    assert "old module" not in capsys.readouterr().err


def test_aliases_of_earlier_versions():
    from keras.constraints import maxnorm  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    from keras.losses import Reduction, logcosh, mse  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    from keras.optimizers import adam  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    assert (maxnorm, adam) == (lamina.constraints.MaxNorm, lamina.optimizers.Adam)
    assert (mse, logcosh) == (lamina.losses.mean_squared_error, lamina.losses.log_cosh)
    assert lamina.losses.MeanSquaredError(reduction=Reduction.NONE)([[1.0]], [[3.0]]).tolist() == [4.0]
