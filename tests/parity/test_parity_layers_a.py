"""Core, reshaping, merging, regularization and activation layers against the real Keras with the same weights."""

from __future__ import annotations

import itertools
import json
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina import layers
from lamina.core import tree

SEQUENCE, IMAGE, VOLUME = (2, 6, 3), (2, 6, 5, 3), (2, 5, 6, 4, 3)
FORMATS = ["channels_last", "channels_first"]


def numbers(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype("float32")).requires_grad_()


def masked(x: torch.Tensor, seed: int) -> torch.Tensor:
    x._keras_mask = torch.from_numpy(np.random.default_rng(seed).random(x.shape[:2]) > 0.4)  # type: ignore[attr-defined]
    return x


def pair(name: str, arguments: dict[str, Any], inputs: Any) -> tuple[Any, Any]:
    """The two layers, built, with the same random weights."""
    ours, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    ours(inputs), theirs(inputs)
    assert [(w.path.split("/")[-1], tuple(w.shape)) for w in ours.weights] == [
        (w.path.split("/")[-1], tuple(w.shape)) for w in theirs.weights
    ]
    generator = np.random.default_rng(1)
    weights = [generator.normal(size=w.shape).astype("float32") for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def gradients(layer: Any, inputs: Any, **kwargs: Any) -> tuple[torch.Tensor, Any, list[torch.Tensor | None]]:
    """The output, its mask, and the gradients of a weighted sum of it by inputs and weights."""
    output = layer(inputs, **kwargs)
    weights = [getattr(w, "value", w) for w in layer.trainable_weights]
    sources = [x for x in tree.flatten(inputs) if x.requires_grad]
    found: list[Any] = []
    if (sources or weights) and output.requires_grad:
        factor = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
        found = list(torch.autograd.grad((output * factor).sum(), [*sources, *weights], allow_unused=True))
    return output, getattr(output, "_keras_mask", None), found


def same(name: str, arguments: dict[str, Any], inputs: Any, tolerance: float = 1e-5, **kwargs: Any) -> None:
    """Outputs, masks and gradients agree."""
    ours, theirs = pair(name, arguments, inputs)
    (y, mask, grads), (peer_y, peer_mask, peer_grads) = (gradients(layer, inputs, **kwargs) for layer in (ours, theirs))
    torch.testing.assert_close(y, peer_y, rtol=tolerance, atol=tolerance)
    assert (mask is None) == (peer_mask is None)
    if mask is not None:
        assert torch.equal(mask, peer_mask)
    assert len(grads) == len(peer_grads)
    for ours_grad, peer_grad in zip(grads, peer_grads, strict=True):
        if peer_grad is None:
            assert ours_grad is None or not ours_grad.any()
        else:
            torch.testing.assert_close(ours_grad, peer_grad, rtol=tolerance, atol=tolerance)
    assert tuple(theirs.compute_output_shape(_shapes(inputs))) == tuple(ours.compute_output_shape(_shapes(inputs)))


def _shapes(inputs: Any) -> Any:
    return [tuple(x.shape) for x in inputs] if isinstance(inputs, list) else tuple(inputs.shape)


def both_refuse(name: str, arguments: dict[str, Any], inputs: Any = None) -> str:
    """Both refuse, with a ValueError or TypeError of the same kind; gives lamina's words."""
    kinds = []
    words = ""
    for home in (keras.layers, layers):
        with pytest.raises((ValueError, TypeError, IndexError)) as caught:
            layer = getattr(home, name)(**arguments)
            layer(inputs)
        kinds.append(TypeError if isinstance(caught.value, TypeError) else ValueError)
        words = str(caught.value)
    assert kinds[0] is kinds[1]
    return words


@pytest.mark.parametrize("activation", [None, "relu", "softmax", "sigmoid", "tanh", "gelu", "silu", "elu", "selu"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 5), SEQUENCE, IMAGE])
def test_dense(shape, use_bias, activation):
    same("Dense", {"units": 4, "use_bias": use_bias, "activation": activation}, numbers(shape))


def test_dense_of_integers_and_float64():
    same("Dense", {"units": 4}, torch.arange(10, dtype=torch.int32).reshape(2, 5))
    same("Dense", {"units": 4}, numbers((2, 5)).detach().double().requires_grad_())


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "relu"])
def test_logits_stay_on_the_output(activation):
    x = numbers((4, 5))
    for layer, source in (
        ("Dense", {"units": 3, "activation": activation}),
        ("Activation", {"activation": activation}),
    ):
        ours, theirs = pair(layer, source, x)
        a, b = ours(x), theirs(x)
        assert hasattr(a, "_keras_logits") == hasattr(b, "_keras_logits")
        if hasattr(a, "_keras_logits"):
            torch.testing.assert_close(a._keras_logits, b._keras_logits)


@pytest.mark.parametrize(
    "activation",
    ["relu", "leaky_relu", "relu6", "softmax", "log_softmax", "celu", "hard_tanh", "mish", "softplus", "exponential"],
)
def test_activation(activation):
    same("Activation", {"activation": activation}, numbers(SEQUENCE))


@pytest.mark.parametrize("mask_zero", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float32])
def test_embedding(dtype, mask_zero):
    ids = torch.tensor([[1, 2, 0], [3, 9, 0]]).to(dtype)
    same("Embedding", {"input_dim": 10, "output_dim": 4, "mask_zero": mask_zero}, ids)


def test_embedding_with_weights():
    table = np.arange(6.0).reshape(3, 2)
    ids = torch.tensor([[2, 0]])
    for home in (layers, keras.layers):
        for weights in (table, [table]):
            layer = home.Embedding(3, 2, weights=weights)
            assert layer.built
            assert layer(ids).tolist() == [[[4.0, 5.0], [0.0, 1.0]]]
    assert layers.Embedding(3, 2, weights=[table]).get_config().keys() == layers.Embedding(3, 2).get_config().keys()


@pytest.mark.parametrize("value", [0.0, 1.0, -2])
def test_masking(value):
    x = numbers(SEQUENCE).detach()
    x[0, 1] = value
    x[1, :2] = value
    x[1, 3, 1] = value
    same("Masking", {"mask_value": value}, x.requires_grad_())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_value": 6},
        {"max_value": 0.5},
        {"negative_slope": 0.3},
        {"threshold": 0.4},
        {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.5},
        {"negative_slope": 0.1, "threshold": 0.5},
        {"max_value": 6, "threshold": 0.2},
        {"max_value": 1, "negative_slope": 0.2},
    ],
)
def test_relu(arguments):
    x = torch.cat([numbers((4, 5)).detach() * 3, torch.tensor([[0.0, 6.0, 0.5, 0.4, 1.0]])]).requires_grad_()
    same("ReLU", arguments, x)


@pytest.mark.parametrize("arguments", [{}, {"negative_slope": 0.1}, {"negative_slope": 0.0}])
def test_leaky_relu(arguments):
    same("LeakyReLU", arguments, numbers(SEQUENCE))


def test_leaky_relu_by_its_old_argument():
    assert layers.LeakyReLU(alpha=0.2).negative_slope == 0.2
    with pytest.warns(UserWarning):
        assert keras.layers.LeakyReLU(alpha=0.2).negative_slope == 0.2


@pytest.mark.parametrize("shared_axes", [None, 1, [1, 2], (1, 2, 3)])
def test_prelu(shared_axes):
    x = numbers(IMAGE).detach()
    x[0, 0, 0] = 0.0
    same("PReLU", {"shared_axes": shared_axes}, x.requires_grad_())


def test_elu():
    for alpha in (1.0, 0.3):
        same("ELU", {"alpha": alpha}, numbers(SEQUENCE))


@pytest.mark.parametrize("axis", [-1, 1, [-1], [1, 2], (0, 1)])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_softmax(axis, mask):
    x = numbers(SEQUENCE)
    kept = None
    if mask:
        kept = torch.from_numpy(np.random.default_rng(3).random((2, 6, 1)) > 0.5)
        kept = kept if mask == "bool" else kept.float()
    same("Softmax", {"axis": axis}, x, mask=kept)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("shape", [(3,), (3, 2), SEQUENCE, IMAGE])
def test_flatten(shape, data_format):
    same("Flatten", {"data_format": data_format}, numbers(shape))


@pytest.mark.parametrize("target", [(18,), (3, 6), (-1,), (2, -1), (-1, 3, 3), (18, 1, 1)])
def test_reshape(target):
    same("Reshape", {"target_shape": target}, numbers(SEQUENCE))


@pytest.mark.parametrize("dims", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_permute(dims):
    same("Permute", {"dims": dims}, numbers(IMAGE))


def test_repeat_vector():
    same("RepeatVector", {"n": 3}, numbers((4, 5)))


@pytest.mark.parametrize("data_format", [None, *FORMATS])
@pytest.mark.parametrize(
    ("rank", "padding"),
    [
        (1, 2),
        (1, (1, 3)),
        (1, 0),
        (2, 1),
        (2, (1, 2)),
        (2, ((0, 1), (2, 3))),
        (2, (1, (2, 0))),
        (3, 1),
        (3, (1, 0, 2)),
        (3, ((1, 0), (0, 2), (3, 0))),
    ],
)
def test_zero_padding(rank, padding, data_format):
    shape = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}[rank]
    same(f"ZeroPadding{rank}D", {"padding": padding, "data_format": data_format}, numbers(shape))


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    ("rank", "cropping"),
    [
        (2, 1),
        (2, (1, 0)),
        (2, ((0, 1), (1, 0))),
        (2, ((1, 0), (0, 2))),
        (2, 0),
        (3, 1),
        (3, (1, 0, 1)),
        (3, ((1, 0), (0, 2), (1, 1))),
        (3, ((0, 1), (1, 0), (0, 1))),
    ],
)
def test_cropping(rank, cropping, data_format):
    shape = {2: (2, 4, 5, 4), 3: (2, 4, 5, 6, 4)}[rank]
    same(f"Cropping{rank}D", {"cropping": cropping, "data_format": data_format}, numbers(shape))


@pytest.mark.parametrize("cropping", [1, (0, 2), (2, 0), (1, 2), 0])
def test_cropping_1d(cropping):
    same("Cropping1D", {"cropping": cropping}, numbers(SEQUENCE))


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "BILINEAR"])
@pytest.mark.parametrize("size", [2, (1, 3), (2, 1)])
def test_upsampling_2d(size, interpolation, data_format):
    arguments = {"size": size, "interpolation": interpolation, "data_format": data_format}
    same("UpSampling2D", arguments, numbers(IMAGE), tolerance=1e-4)


def test_upsampling_1d_and_3d():
    same("UpSampling1D", {"size": 3}, numbers(SEQUENCE))
    for data_format, size in itertools.product(FORMATS, [2, (1, 2, 3)]):
        same("UpSampling3D", {"size": size, "data_format": data_format}, numbers(VOLUME))


MERGERS = ["Add", "Multiply", "Average", "Maximum", "Minimum"]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", MERGERS)
def test_merging(name, count):
    same(name, {}, [numbers(SEQUENCE, seed) for seed in range(count)])


@pytest.mark.parametrize("name", [*MERGERS, "Subtract"])
@pytest.mark.parametrize(
    "shapes",
    [[SEQUENCE, (2, 1, 3)], [SEQUENCE, (2, 3)], [(2, 3), SEQUENCE], [(2, 1, 1), SEQUENCE], [IMAGE, (2, 5, 1)]],
)
def test_merging_broadcasts(name, shapes):
    same(name, {}, [numbers(shape, seed) for seed, shape in enumerate(shapes)])


@pytest.mark.parametrize("which", [(0, 1), (0,), (1,)])
@pytest.mark.parametrize("name", [*MERGERS, "Subtract", "Concatenate"])
def test_merging_of_masked_tensors(name, which):
    inputs = [numbers(SEQUENCE, seed) for seed in range(2)]
    for index in which:
        masked(inputs[index], index)
    same(name, {}, inputs)


@pytest.mark.parametrize("name", ["Multiply", "Maximum", "Minimum", "Add"])
@pytest.mark.parametrize("which", [(0, 1, 2), (0, 2), (1,)])
def test_merging_of_three_masked_tensors(name, which):
    inputs = [numbers(SEQUENCE, seed) for seed in range(3)]
    for index in which:
        masked(inputs[index], index)
    same(name, {}, inputs)


@pytest.mark.parametrize("axis", [1, -1, 2, -2])
def test_concatenate(axis):
    shapes = {1: [(2, 4, 3), (2, 1, 3)], 2: [(2, 4, 3), (2, 4, 1)]}[axis % 3]
    same("Concatenate", {"axis": axis}, [numbers(shape, seed) for seed, shape in enumerate(shapes)])
    same("Concatenate", {"axis": axis}, [masked(numbers(shape, seed), seed) for seed, shape in enumerate(shapes)])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("axes", "shapes"),
    [
        (1, [(2, 4), (2, 4)]),
        (-1, [(2, 4), (2, 4)]),
        ((1, 1), [(2, 4), (2, 4)]),
        (-1, [(2, 3, 4), (2, 5, 4)]),
        ((1, 2), [(2, 3, 5), (2, 10, 3)]),
        ((2, 1), [(2, 3, 5), (2, 5, 4)]),
        ((-1, -2), [(2, 3, 5), (2, 5, 4)]),
        ((1, 2), [(2, 5), (2, 3, 5)]),
        ((2, 1), [(2, 3, 5), (2, 5)]),
        ((2, 3), [(2, 3, 5, 4), (2, 6, 7, 5)]),
        ((3, 1), [(2, 3, 5, 4), (2, 4, 7, 5)]),
        ((1, 1), [(2, 4, 1), (2, 4, 1)]),
    ],
)
def test_dot(axes, shapes, normalize):
    inputs = [numbers(shape, seed) for seed, shape in enumerate(shapes)]
    ours, theirs = layers.Dot(axes, normalize=normalize), keras.layers.Dot(axes, normalize=normalize)
    (y, _, grads), (peer_y, _, peer_grads) = (gradients(layer, inputs) for layer in (ours, theirs))
    torch.testing.assert_close(y, peer_y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grads, peer_grads, rtol=1e-4, atol=1e-5)
    assert tuple(y.shape) == tuple(ours.compute_output_shape(shapes))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate", "dot"])
def test_functions_of_merging(name):
    inputs = [numbers((3, 4), seed) for seed in range(2)]
    torch.testing.assert_close(getattr(layers, name)(inputs), getattr(keras.layers, name)(inputs))


NOISES = [
    ("Dropout", {"rate": 0.3}, IMAGE),
    ("Dropout", {"rate": 0.3, "noise_shape": (None, 1, None)}, SEQUENCE),
    ("Dropout", {"rate": 0.3, "noise_shape": (3,)}, SEQUENCE),
    ("SpatialDropout1D", {"rate": 0.3}, SEQUENCE),
    ("SpatialDropout2D", {"rate": 0.3}, IMAGE),
    ("SpatialDropout2D", {"rate": 0.3, "data_format": "channels_first"}, IMAGE),
    ("SpatialDropout3D", {"rate": 0.3}, VOLUME),
    ("GaussianNoise", {"stddev": 0.5}, SEQUENCE),
    ("GaussianDropout", {"rate": 0.3}, SEQUENCE),
    ("AlphaDropout", {"rate": 0.3}, SEQUENCE),
    ("AlphaDropout", {"rate": 0.3, "noise_shape": (None, 1, 3)}, SEQUENCE),
]


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize(("name", "arguments", "shape"), NOISES, ids=[f"{n[0]}-{i}" for i, n in enumerate(NOISES)])
def test_noise_has_the_same_statistics(name, arguments, shape, seed):
    """Mean, spread, and which elements share their fate."""
    x = torch.ones(shape)
    torch.manual_seed(0)
    torch.nn.init.normal_(x[0])
    calls = 1500 if arguments.get("noise_shape", (None,))[0] else 1
    many = x.repeat(3000 // calls, *(1,) * (x.ndim - 1))
    samples = []
    for home in (layers, keras.layers):
        layer = getattr(home, name)(**arguments, seed=seed)
        assert torch.equal(layer(x), x) and torch.equal(layer(x, training=False), x)
        drawn = torch.cat([layer(many, training=True).detach() for _ in range(calls)])
        samples.append(drawn.reshape(3000, *shape))
    ours, theirs = samples
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), rtol=0.1, atol=0.15)
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.1, atol=0.05)
    flat = [(sample - x).flatten(1)[:, :12].T for sample in samples]
    torch.testing.assert_close(torch.corrcoef(flat[0]), torch.corrcoef(flat[1]), rtol=0.1, atol=0.12)


def test_activity_regularization():
    x = numbers(SEQUENCE)
    ours, theirs = (home.ActivityRegularization(l1=0.3, l2=0.7) for home in (layers, keras.layers))
    assert torch.equal(ours(x), x)
    theirs(x)
    torch.testing.assert_close(ours.losses[0], theirs.losses[0])


@pytest.mark.parametrize(
    ("name", "arguments", "inputs"),
    [
        ("Dense", {"units": 0}, None),
        ("Dense", {"units": 3.5}, None),
        ("Dense", {"units": 3}, torch.ones(5)),
        ("Embedding", {"input_dim": 0, "output_dim": 3}, None),
        ("Embedding", {"input_dim": 3, "output_dim": True}, None),
        ("Dropout", {"rate": 1.5}, None),
        ("Dropout", {"rate": 0.5, "noise_shape": "a"}, None),
        ("Dropout", {"rate": 0.5, "noise_shape": (0, 1)}, None),
        ("GaussianNoise", {"stddev": -0.1}, None),
        ("SpatialDropout1D", {"rate": 0.5}, torch.ones(2, 3)),
        ("Reshape", {"target_shape": (-1, -1)}, None),
        ("Reshape", {"target_shape": (-2,)}, None),
        ("Reshape", {"target_shape": (4,)}, torch.ones(2, 6)),
        ("Reshape", {"target_shape": (4, -1)}, torch.ones(2, 6)),
        ("Permute", {"dims": (1, 3)}, None),
        ("Permute", {"dims": (2, 1)}, torch.ones(2, 3)),
        ("RepeatVector", {"n": 1.5}, None),
        ("RepeatVector", {"n": 0}, None),
        ("ZeroPadding1D", {"padding": (1, 2, 3)}, None),
        ("ZeroPadding2D", {"padding": (1, 2, 3)}, None),
        ("ZeroPadding2D", {"padding": (1, -1)}, None),
        ("ZeroPadding3D", {"padding": "a"}, None),
        ("Cropping2D", {"cropping": -1}, None),
        ("Cropping1D", {"cropping": 3}, torch.ones(1, 6, 2)),
        ("Cropping2D", {"cropping": 3}, torch.ones(1, 6, 9, 2)),
        ("Cropping3D", {"cropping": 2}, torch.ones(1, 6, 4, 5, 2)),
        ("UpSampling1D", {"size": 0}, None),
        ("UpSampling1D", {"size": (2,)}, None),
        ("UpSampling2D", {"size": (2, 2, 2)}, None),
        ("UpSampling2D", {"interpolation": "cubical"}, torch.ones(1, 2, 2, 1)),
        ("Add", {}, torch.ones(2, 3)),
        ("Add", {}, [torch.ones(2, 3), torch.ones(2, 4)]),
        ("Add", {}, [torch.ones(2, 3), torch.ones(3, 3)]),
        ("Subtract", {}, [torch.ones(2, 3)] * 3),
        ("Concatenate", {}, [torch.ones(2, 3, 4), torch.ones(2, 5, 4)]),
        ("Concatenate", {}, [torch.ones(2, 3), torch.ones(2, 3, 4)]),
        ("Dot", {"axes": "a"}, None),
        ("Dot", {"axes": (1, 2, 3)}, None),
        ("Dot", {"axes": 1}, [torch.ones(2, 3), torch.ones(2, 4)]),
        ("Dot", {"axes": 0}, [torch.ones(2, 3), torch.ones(2, 3)]),
        ("ReLU", {"max_value": -1}, None),
        ("ReLU", {"negative_slope": None}, None),
        ("ReLU", {"threshold": -1}, None),
        ("LeakyReLU", {"negative_slope": -0.1}, None),
        ("Softmax", {}, None),
    ],
)
def test_both_refuse(name, arguments, inputs):
    if name == "Softmax":
        for home in (layers, keras.layers):
            with pytest.raises(ValueError):
                home.Softmax()(torch.ones(2, 3), mask=torch.ones(2, 4, dtype=torch.bool))
        return
    words = both_refuse(name, arguments, inputs)
    assert "where: layer" in words


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("Dense", {"units": 3, "activation": "relu", "kernel_regularizer": "l2"}, (2, 5)),
        ("Embedding", {"input_dim": 10, "output_dim": 4, "mask_zero": True}, (2, 5)),
        ("Reshape", {"target_shape": (-1, 3)}, SEQUENCE),
        ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, IMAGE),
        ("Concatenate", {"axis": 1}, [(2, 3), (2, 4)]),
        ("Dot", {"axes": (1, 2), "normalize": True}, [(2, 5), (2, 3, 5)]),
        ("PReLU", {"shared_axes": [1]}, SEQUENCE),
        ("SpatialDropout2D", {"rate": 0.4, "seed": 3}, IMAGE),
    ],
)
def test_configs_are_exchanged(name, arguments, shape):
    """What Keras writes, lamina reads, and the other way round."""
    theirs = json.loads(json.dumps(keras.saving.serialize_keras_object(getattr(keras.layers, name)(**arguments))))
    layer = getattr(layers, name).from_config(theirs["config"])
    config = json.loads(json.dumps(layer.get_config()))
    config.pop("quantization_config", None)
    back = getattr(keras.layers, name).from_config(config)
    assert back.get_config() == getattr(keras.layers, name).from_config(theirs["config"]).get_config()
