"""Where the names of earlier Keras versions are to be found today: modules that moved, objects that were renamed."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from lamina import ops
from lamina.compat import backend, backend_nn, images, layers, sequences, text, training
from lamina.core import scopes

KERAS_VERSION = "3.15.1"
"""The version of the Keras API that lamina offers; scripts see it as `keras.__version__`."""


class Old(NamedTuple):
    """An object that goes by an old name.

    Args:
        value: the object, or the path below lamina at which it stands today.
        replacement: what a program should say today.
    """

    value: Any
    replacement: str


_LAYER_FAMILIES = (
    "advanced_activations attention convolutional convolutional_recurrent core cudnn_recurrent dense_attention "
    "einsum_dense embeddings experimental local merge noise normalization pooling preprocessing recurrent "
    "regularization reshaping rnn wrappers core.dense core.activation core.embedding convolutional.conv2d "
    "normalization.batch_normalization normalization.layer_normalization experimental.preprocessing"
).split()
_UTILITY_FAMILIES = (
    "audio_dataset_utils conv_utils data_utils dataset_utils generic_utils image_dataset_utils image_utils io_utils "
    "layer_utils losses_utils metrics_utils np_utils text_dataset_utils tf_utils training_utils vis_utils"
).split()

MODULES: dict[str, tuple[str, ...]] = {
    **{f"layers.{family}": ("layers",) for family in _LAYER_FAMILIES},
    **{f"utils.{family}": ("utils",) for family in _UTILITY_FAMILIES},
    "engine": ("layers", "models"),
    **{
        f"engine.{part}": ("layers", "models")
        for part in "base_layer functional input_layer input_spec network sequential topology training".split()
    },
    "activations.activations": ("activations",),
    "callbacks.callbacks": ("callbacks",),
    "initializers.initializers": ("initializers",),
    "losses.losses": ("losses",),
    "metrics.metrics": ("metrics",),
    "models.functional": ("models",),
    "models.model": ("models",),
    "models.sequential": ("models",),
    "objectives": ("losses",),
    "optimizers.experimental": ("optimizers",),
    "optimizers.legacy": ("optimizers",),
    "optimizers.optimizer_v2": ("optimizers",),
    "optimizers.optimizer_v1": ("optimizers",),
    "optimizers.schedules.learning_rate_schedule": ("optimizers.schedules",),
    "preprocessing": ("utils",),
    "preprocessing.image": ("utils",),
    "preprocessing.sequence": ("utils",),
    "preprocessing.text": ("utils",),
    "wrappers.scikit_learn": ("wrappers",),
}
"""Modules of earlier versions, and the namespaces in which their names are looked up today."""

NOT_OLD = {"preprocessing", "preprocessing.image", "preprocessing.sequence"}
"""Modules that today's Keras still has, but that hold more names here."""


def _functions(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if not name.startswith("_") and isinstance(value, types.FunctionType):
            yield name, value


def _backend_functions() -> dict[str, Old]:
    """The functions of Keras 2's backend that today's `keras.backend` lacks."""
    table = {old: Old(f"ops.{new}", f"keras.ops.{new}") for old, new in backend.RENAMED.items()}
    for module in (backend, backend_nn):
        for name, function in _functions(module):
            if function.__module__.startswith(backend.__name__):
                table[name] = Old(function, _BACKEND_HINTS.get(name) or _by_hand(name))
    table["name_scope"] = Old(scopes.name_scope, "keras.name_scope")
    return table


_BACKEND_HINTS = {
    "batch_dot": "keras.ops.einsum",
    "batch_flatten": "keras.layers.Flatten",
    "batch_get_value": "variable.numpy() of each",
    "batch_set_value": "variable.assign(value) of each",
    "bias_add": "x + bias",
    "cast_to_floatx": "keras.ops.cast",
    "constant": "keras.ops.convert_to_tensor",
    "conv1d": "keras.ops.conv",
    "conv2d": "keras.ops.conv",
    "conv2d_transpose": "keras.ops.conv_transpose",
    "conv3d": "keras.ops.conv",
    "count_params": "keras.ops.size",
    "ctc_batch_cost": "keras.ops.ctc_loss",
    "depthwise_conv2d": "keras.ops.depthwise_conv",
    "dropout": "keras.random.dropout",
    "dtype": "x.dtype",
    "eval": "keras.ops.convert_to_numpy",
    "flatten": "keras.ops.ravel",
    "foldl": "functools.reduce",
    "foldr": "functools.reduce",
    "function": "keras.Model(inputs, outputs)",
    "gather": "keras.ops.take",
    "get_value": "variable.numpy()",
    "gradients": "torch.autograd.grad",
    "image_dim_ordering": "keras.config.image_data_format",
    "in_test_phase": "the argument training of call",
    "in_train_phase": "the argument training of call",
    "int_shape": "x.shape",
    "l2_normalize": "keras.ops.normalize",
    "learning_phase": "the argument training of call",
    "moving_average_update": "variable.assign",
    "ndim": "keras.ops.ndim",
    "ones": "keras.Variable or keras.ops.ones",
    "placeholder": "keras.Input",
    "pool2d": "keras.ops.max_pool or keras.ops.average_pool",
    "pool3d": "keras.ops.max_pool or keras.ops.average_pool",
    "print_tensor": "print",
    "random_bernoulli": "keras.random.binomial",
    "random_normal": "keras.random.normal",
    "random_normal_variable": "keras.Variable",
    "random_uniform": "keras.random.uniform",
    "random_uniform_variable": "keras.Variable",
    "repeat": "keras.layers.RepeatVector",
    "repeat_elements": "keras.ops.repeat",
    "resize_images": "keras.ops.image.resize",
    "resize_volumes": "keras.ops.repeat",
    "rnn": "keras.layers.RNN",
    "separable_conv2d": "keras.ops.separable_conv",
    "set_learning_phase": "the argument training of call",
    "set_value": "variable.assign(value)",
    "spatial_2d_padding": "keras.ops.pad",
    "spatial_3d_padding": "keras.ops.pad",
    "switch": "keras.ops.where or keras.ops.cond",
    "temporal_padding": "keras.ops.pad",
    "truncated_normal": "keras.random.truncated_normal",
    "update": "variable.assign",
    "update_add": "variable.assign_add",
    "update_sub": "variable.assign_sub",
    "variable": "keras.Variable",
    "zeros": "keras.Variable or keras.ops.zeros",
}


def _by_hand(name: str) -> str:
    """What replaces a function for which an op of the same name may exist."""
    return f"keras.ops.{name}" if hasattr(ops, name) else "keras.ops"


def _lower_case(names: str) -> dict[str, Old]:
    return {name.lower(): Old(f"optimizers.{name}", f"keras.optimizers.{name}") for name in names.split()}


def _renamed(module: str, names: str) -> dict[str, Old]:
    """Objects of a module by their old names, from "old:new other:new"."""
    pairs = (pair.split(":") for pair in names.split())
    return {old: Old(f"{module}.{new}", f"keras.{module}.{new}") for old, new in pairs}


_ERRORS = (
    "mse:mean_squared_error MSE:mean_squared_error mae:mean_absolute_error MAE:mean_absolute_error "
    "mape:mean_absolute_percentage_error MAPE:mean_absolute_percentage_error msle:mean_squared_logarithmic_error "
    "MSLE:mean_squared_logarithmic_error kld:kl_divergence KLD:kl_divergence kullback_leibler_divergence:kl_divergence"
)

OBJECTS: dict[str, dict[str, Old]] = {
    "": {"objectives": Old("losses", "keras.losses")},
    "backend": _backend_functions(),
    "layers": {
        "CuDNNGRU": Old("layers.GRU", "keras.layers.GRU"),
        "CuDNNLSTM": Old("layers.LSTM", "keras.layers.LSTM"),
        "Deconvolution2D": Old("layers.Conv2DTranspose", "keras.layers.Conv2DTranspose"),
        "Deconvolution3D": Old("layers.Conv3DTranspose", "keras.layers.Conv3DTranspose"),
        "ThresholdedReLU": Old(layers.ThresholdedReLU, "keras.layers.ReLU(threshold=theta)"),
    },
    "constraints": _renamed("constraints", "maxnorm:MaxNorm nonneg:NonNeg unitnorm:UnitNorm"),
    "initializers": _renamed("initializers", "normal:RandomNormal uniform:RandomUniform one:Ones zero:Zeros"),
    "losses": {
        **_renamed("losses", f"{_ERRORS} logcosh:log_cosh huber_loss:huber"),
        "Reduction": Old(training.Reduction, 'the names "sum_over_batch_size", "sum" and "none"'),
    },
    "metrics": _renamed("metrics", _ERRORS),
    "optimizers": _lower_case("SGD RMSprop Adam AdamW Adagrad Adadelta Adamax Nadam Ftrl"),
    "preprocessing.image": {
        "ImageDataGenerator": Old(
            images.ImageDataGenerator, "keras.layers.Random... and keras.utils.image_dataset_from_directory"
        ),
    },
    "preprocessing.sequence": {
        "TimeseriesGenerator": Old(sequences.TimeseriesGenerator, "keras.utils.timeseries_dataset_from_array"),
        "make_sampling_table": Old(sequences.make_sampling_table, "a function of your own"),
        "skipgrams": Old(sequences.skipgrams, "a function of your own"),
    },
    "preprocessing.text": {
        name: Old(getattr(text, name), "keras.layers.TextVectorization")
        for name in ("Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json")
    },
    "utils": {"multi_gpu_model": Old(training.multi_gpu_model, "torch.nn.parallel.DistributedDataParallel")},
    "wrappers": {
        "KerasClassifier": Old("wrappers.SKLearnClassifier", "keras.wrappers.SKLearnClassifier"),
        "KerasRegressor": Old("wrappers.SKLearnRegressor", "keras.wrappers.SKLearnRegressor"),
    },
}
"""Objects of earlier versions that today's namespaces lack."""
