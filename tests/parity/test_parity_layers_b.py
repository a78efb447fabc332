"""Convolution, pooling and normalization against the real Keras: outputs, gradients, moving statistics, configs."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina.layers import (
    convolution,
    convolution_depthwise,
    convolution_transpose,
    normalization,
    pooling,
)

HOMES = (convolution, convolution_depthwise, convolution_transpose, normalization, pooling)


def ours(name: str) -> Any:
    return next(vars(home)[name] for home in HOMES if name in vars(home))


def tensors(layer: Any) -> dict[str, torch.Tensor]:
    """A layer's weights by name; those of the real Keras hold their tensor in `value`."""
    return {weight.name: getattr(weight, "value", weight) for weight in layer.weights}


def close(a: Any, b: Any, tolerance: float, what: str) -> None:
    a, b = (np.asarray(t.detach().double().numpy()) for t in (a, b))
    scale = max(1.0, float(np.abs(b).max(initial=0.0)))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def pair(name: str, shape: tuple[int, ...], arguments: dict[str, Any], seed: int = 0) -> tuple[Any, Any]:
    """The layer of both, built and with the same weights."""
    rng = np.random.default_rng(seed)
    theirs, mine = getattr(keras.layers, name)(**arguments), ours(name)(**arguments)
    theirs.build(shape)
    mine.build(shape)
    assert [(w.name, tuple(w.shape)) for w in mine.weights] == [(w.name, tuple(w.shape)) for w in theirs.weights]
    values = []
    for weight in theirs.weights:
        value = rng.normal(size=weight.shape)
        positive = "variance" in weight.name or "stddev" in weight.name
        values.append(np.abs(value) + 0.5 if positive else value)
    theirs.set_weights(values)
    mine.set_weights(values)
    return theirs, mine


def compare(
    name: str,
    shape: tuple[int, ...],
    arguments: dict[str, Any] | None = None,
    *,
    tolerance: float = 3e-5,
    steps: int = 1,
    x: np.ndarray | None = None,
    **call: Any,
) -> None:
    """Run both on the same inputs and compare everything that comes out or is changed."""
    rng = np.random.default_rng(1)
    theirs, mine = pair(name, shape, arguments or {})
    for _ in range(steps):
        values = rng.normal(1.0, 2.0, size=shape).astype("float32") if x is None else x
        results = []
        upstream: torch.Tensor | None = None
        for layer in (theirs, mine):
            for tensor in tensors(layer).values():
                tensor.grad = None
            inputs = torch.tensor(values, requires_grad=True)
            outputs = layer(inputs, **call)
            if upstream is None:
                upstream = torch.tensor(rng.normal(size=tuple(outputs.shape)), dtype=outputs.dtype)
            assert outputs.shape == upstream.shape and outputs.dtype == upstream.dtype
            outputs.backward(upstream)
            results.append((outputs, inputs.grad))
        (expected, expected_gradient), (found, found_gradient) = results
        close(found, expected, tolerance, "output")
        close(found_gradient, expected_gradient, tolerance, "input gradient")
        for (weight, theirs_now), mine_now in zip(tensors(theirs).items(), tensors(mine).values(), strict=True):
            close(mine_now, theirs_now, tolerance, f"value of {weight}")
            assert (theirs_now.grad is None) == (mine_now.grad is None), weight
            if theirs_now.grad is not None:
                close(mine_now.grad, theirs_now.grad, tolerance, f"gradient of {weight}")
    assert tuple(mine.compute_output_shape((None, *shape[1:]))) == tuple(
        theirs.compute_output_shape((None, *shape[1:]))
    )


IMAGES = {"channels_last": (2, 9, 8, 4), "channels_first": (2, 4, 9, 8)}
STEPS = {"channels_last": (2, 11, 4), "channels_first": (2, 4, 11)}
VOLUMES = {"channels_last": (2, 5, 6, 7, 4), "channels_first": (2, 4, 5, 6, 7)}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("padding", "strides", "dilation_rate", "groups", "kernel_size"),
    [
        (padding, strides, dilation, groups, kernel)
        for padding, (strides, dilation), groups, kernel in itertools.product(
            ("valid", "same"), ((1, 1), (2, 1), ((1, 3), 1), (1, 2)), (1, 2), (1, 3, (2, 4))
        )
    ],
)
def test_conv2d(padding, strides, dilation_rate, groups, kernel_size, data_format) -> None:
    arguments = dict(
        filters=6,
        kernel_size=kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        groups=groups,
        data_format=data_format,
    )
    compare("Conv2D", IMAGES[data_format], arguments)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(("strides", "dilation_rate"), [(1, 1), (2, 1), (3, 1), (1, 2)])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
def test_conv1d(padding, strides, dilation_rate, kernel_size, data_format) -> None:
    arguments = dict(filters=6, kernel_size=kernel_size, strides=strides, dilation_rate=dilation_rate)
    compare("Conv1D", STEPS[data_format], arguments | {"padding": padding, "data_format": data_format})


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("strides", "dilation_rate"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv3d(padding, strides, dilation_rate, groups, data_format) -> None:
    arguments = dict(filters=4, kernel_size=(2, 3, 2), strides=strides, dilation_rate=dilation_rate, groups=groups)
    compare("Conv3D", VOLUMES[data_format], arguments | {"padding": padding, "data_format": data_format})


@pytest.mark.parametrize("name", ["Conv1D", "Conv2D", "Conv3D"])
def test_conv_with_activation_and_without_bias(name) -> None:
    shape = {"Conv1D": STEPS, "Conv2D": IMAGES, "Conv3D": VOLUMES}[name]["channels_last"]
    compare(name, shape, dict(filters=3, kernel_size=2, activation="gelu", use_bias=False))
    compare(name, shape, dict(filters=3, kernel_size=2, activation="softmax"))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("strides", "dilation_rate"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("depth_multiplier", [1, 3])
@pytest.mark.parametrize("rank", [1, 2])
def test_depthwise_and_separable(padding, strides, dilation_rate, depth_multiplier, data_format, rank) -> None:
    arguments = dict(
        kernel_size=3,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        depth_multiplier=depth_multiplier,
        data_format=data_format,
    )
    shape = (STEPS if rank == 1 else IMAGES)[data_format]
    compare(f"DepthwiseConv{rank}D", shape, arguments)
    compare(f"SeparableConv{rank}D", shape, arguments | {"filters": 5})


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("strides", "dilation_rate", "output_padding"),
    [(1, 1, None), (2, 1, None), (3, 1, None), (1, 2, None), (2, 1, 0), (2, 1, 1), (3, 1, 2), (1, 1, 0)],
)
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_transpose(padding, strides, dilation_rate, output_padding, kernel_size, data_format, rank) -> None:
    shape = {1: (2, 4, 3), 2: (2, 4, 3, 3), 3: (1, 3, 2, 2, 3)}[rank]
    if data_format == "channels_first":
        shape = (shape[0], shape[-1], *shape[1:-1])
    arguments = dict(
        filters=2,
        kernel_size=kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        output_padding=output_padding,
        data_format=data_format,
    )
    compare(f"Conv{rank}DTranspose", shape, arguments)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [None, 1, 2, 3])
@pytest.mark.parametrize("pool_size", [1, 2, 3, 4])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pooling(padding, strides, pool_size, data_format, rank) -> None:
    shape = {1: STEPS, 2: IMAGES, 3: VOLUMES}[rank][data_format]
    arguments = dict(pool_size=pool_size, strides=strides, padding=padding, data_format=data_format)
    compare(f"MaxPooling{rank}D", shape, arguments)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("strides", [None, 1, 2, 3])
@pytest.mark.parametrize("pool_size", [1, 2, 3, 4])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_average_pooling_valid(strides, pool_size, data_format, rank) -> None:
    shape = {1: STEPS, 2: IMAGES, 3: VOLUMES}[rank][data_format]
    compare(f"AveragePooling{rank}D", shape, dict(pool_size=pool_size, strides=strides, data_format=data_format))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("pool_size", "strides", "length"), [(3, 1, 5), (3, 2, 5), (3, 3, 7), (2, 2, 4), (5, 2, 9)])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_average_pooling_same_where_both_sides_are_padded_alike(pool_size, strides, length, data_format, rank) -> None:
    """Where they are not, Keras on torch repeats the edge and counts it; on its other backends it does not count."""
    shape = (2, 3, *(length,) * rank) if data_format == "channels_first" else (2, *(length,) * rank, 3)
    arguments = dict(pool_size=pool_size, strides=strides, padding="same", data_format=data_format)
    compare(f"AveragePooling{rank}D", shape, arguments)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pooling(keepdims, data_format, rank) -> None:
    shape = {1: STEPS, 2: IMAGES, 3: VOLUMES}[rank][data_format]
    ties = np.random.default_rng(0).integers(0, 3, size=shape).astype("float32")
    for kind in ("Max", "Average"):
        compare(f"Global{kind}Pooling{rank}D", shape, dict(keepdims=keepdims, data_format=data_format))
        compare(f"Global{kind}Pooling{rank}D", shape, dict(keepdims=keepdims, data_format=data_format), x=ties)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_average_pooling_1d_with_mask(keepdims, data_format) -> None:
    mask = torch.tensor([[True] * 5 + [False] * 6, [False] * 3 + [True] * 8])
    arguments = dict(keepdims=keepdims, data_format=data_format)
    compare("GlobalAveragePooling1D", STEPS[data_format], arguments, mask=mask)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("output_size", [1, 3, 5])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_adaptive_pooling(kind, output_size, data_format, rank) -> None:
    shape = {1: STEPS, 2: IMAGES, 3: VOLUMES}[rank][data_format]
    compare(f"Adaptive{kind}Pooling{rank}D", shape, dict(output_size=output_size, data_format=data_format))


BATCHES = [(6, 3), (3, 5, 3), (2, 4, 5, 3), (2, 2, 3, 4, 3)]


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization(shape, axis, center, scale, training) -> None:
    arguments = dict(axis=axis, center=center, scale=scale, momentum=0.9, epsilon=1e-2)
    compare("BatchNormalization", shape, arguments, steps=3, training=training)


@pytest.mark.parametrize("axis", [0, 2, -2])
def test_batch_normalization_on_other_axes(axis) -> None:
    compare("BatchNormalization", (3, 4, 5, 2), dict(axis=axis), steps=2, training=True)


def test_batch_normalization_of_a_single_position() -> None:
    compare("BatchNormalization", (1, 3), {}, steps=2, training=True)


def test_batch_normalization_frozen() -> None:
    compare("BatchNormalization", (2, 4, 5, 3), dict(trainable=False), steps=2, training=True)


@pytest.mark.parametrize("shape", [(4, 5, 3), (2, 4, 5, 3)])
@pytest.mark.parametrize("renorm", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_with_mask(shape, renorm, training) -> None:
    mask = torch.tensor(np.random.default_rng(3).integers(0, 2, size=shape[:-1]).astype(bool))
    arguments = dict(momentum=0.8, renorm=renorm)
    compare("BatchNormalization", shape, arguments, steps=3, training=training, mask=mask, tolerance=1e-4)


@pytest.mark.parametrize("clipping", [None, {"rmin": 0.8, "rmax": 1.1, "dmax": 0.3}, {"dmax": 0.1}])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, False)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_renormalization(clipping, center, scale, training) -> None:
    arguments = dict(renorm=True, renorm_clipping=clipping, center=center, scale=scale, renorm_momentum=0.7)
    compare("BatchNormalization", (2, 4, 5, 3), arguments, steps=3, training=training, tolerance=1e-4)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("BatchNormalization", {"training": True}),
        ("BatchNormalization", {"training": False}),
        ("LayerNormalization", {}),
        ("RMSNormalization", {}),
        ("GroupNormalization", {}),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_computed_in_float32(name, call, dtype) -> None:
    arguments: dict[str, Any] = {"dtype": dtype} | ({"groups": 2} if name == "GroupNormalization" else {})
    tolerance = 2e-3 if "bfloat16" not in dtype else 1.6e-2
    compare(name, (4, 3, 5, 4), arguments, tolerance=tolerance, **call)
    if name == "BatchNormalization":
        compare(name, (4, 3, 5, 4), arguments | {"scale": False}, tolerance=tolerance, **call)


@pytest.mark.parametrize("axis", [-1, [-1], [2, 3], [1, 2, 3], [1, 3], (3, 1)])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (True, False), (False, False)])
def test_layer_normalization(axis, center, scale) -> None:
    arguments = dict(axis=axis, center=center, scale=scale, epsilon=1e-2)
    compare("LayerNormalization", (2, 3, 4, 5), arguments, tolerance=1e-4)


@pytest.mark.parametrize(("groups", "axis"), [(2, -1), (4, -1), (1, -1), (-1, -1), (3, 1), (1, 2), (2, -2)])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (True, False)])
def test_group_normalization(groups, axis, center, scale) -> None:
    arguments = dict(groups=groups, axis=axis, center=center, scale=scale)
    compare("GroupNormalization", (2, 3, 4, 4), arguments, tolerance=1e-4)


@pytest.mark.parametrize("shape", [(3, 4), (2, 6, 4), (2, 2, 3, 3, 4)])
def test_group_normalization_of_any_rank(shape) -> None:
    compare("GroupNormalization", shape, dict(groups=2), tolerance=1e-4)


@pytest.mark.parametrize("axis", [-1, [2, 3], [1, 2, 3]])
def test_rms_normalization(axis) -> None:
    compare("RMSNormalization", (2, 3, 4, 5), dict(axis=axis))


@pytest.mark.parametrize("axis", [-1, 1, [1, 2]])
def test_unit_normalization(axis) -> None:
    compare("UnitNormalization", (2, 3, 4, 5), dict(axis=axis))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Conv1D", dict(filters=4, kernel_size=3, padding="causal", kernel_regularizer="l2")),
        ("Conv2D", dict(filters=4, kernel_size=3, activation="relu", kernel_constraint="max_norm")),
        ("Conv3D", dict(filters=4, kernel_size=3, groups=2, activity_regularizer="l1")),
        ("Conv1DTranspose", dict(filters=4, kernel_size=3)),
        ("Conv2DTranspose", dict(filters=4, kernel_size=3, strides=2, output_padding=1)),
        ("Conv3DTranspose", dict(filters=4, kernel_size=3)),
        ("DepthwiseConv1D", dict(kernel_size=3)),
        ("DepthwiseConv2D", dict(kernel_size=3, depth_multiplier=2)),
        ("SeparableConv1D", dict(filters=2, kernel_size=3)),
        ("SeparableConv2D", dict(filters=2, kernel_size=3, dilation_rate=2)),
        *((f"MaxPooling{rank}D", {}) for rank in (1, 2, 3)),
        *((f"AveragePooling{rank}D", {"pool_size": 3, "padding": "same"}) for rank in (1, 2, 3)),
        *((f"Global{kind}Pooling{rank}D", {}) for kind in ("Max", "Average") for rank in (1, 2, 3)),
        *((f"Adaptive{kind}Pooling{rank}D", {"output_size": 3}) for kind in ("Max", "Average") for rank in (1, 2, 3)),
        ("BatchNormalization", {}),
        ("BatchNormalization", dict(renorm=True, renorm_clipping={"rmax": 2.0})),
        ("LayerNormalization", {}),
        ("LayerNormalization", dict(axis=[1, 2])),
        ("GroupNormalization", dict(groups=2)),
        ("RMSNormalization", {}),
        ("UnitNormalization", {}),
    ],
)
def test_config(name, arguments) -> None:
    theirs = keras.layers.serialize(getattr(keras.layers, name)(name="x", **arguments))["config"]
    mine = ours(name)(name="x", **arguments).get_config()
    assert mine.keys() == theirs.keys()
    plain = {key: value for key, value in theirs.items() if not isinstance(value, dict)}
    assert {key: _lists(mine[key]) for key in plain} == {key: _lists(value) for key, value in plain.items()}
    for key in theirs.keys() - plain.keys() - {"renorm_clipping"}:
        assert mine[key]["class_name"] == theirs[key]["class_name"]
    again = ours(name).from_config(mine)
    assert again.get_config() == mine


def _lists(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
