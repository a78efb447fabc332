"""The functions that `keras.backend` had in Keras 2: convolutions, pooling, losses, recurrence and random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import functional
from torch.nn.utils import rnn as rnn_utils

from lamina import ops
from lamina.compat import backend
from lamina.core import config
from lamina.core.errors import ArgumentError
from lamina.layers import UpSampling2D
from lamina.ops import random


def batch_normalization(
    x: Any, mean: Any, var: Any, beta: Any, gamma: Any, axis: int = -1, epsilon: float = 1e-3
) -> Any:
    """The tensor shifted and scaled by given statistics."""
    scaled = (x - mean) / ops.sqrt(var + epsilon)
    scaled = scaled if gamma is None else scaled * gamma
    return scaled if beta is None else scaled + beta


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """The tensor with a bias for each channel."""
    if config.standardize_data_format(data_format) == "channels_last" or len(x.shape) < 3:
        return x + bias
    spatial = (1,) * (len(x.shape) - 2) if len(bias.shape) == 1 else tuple(bias.shape[:-1])
    return x + ops.reshape(bias, (1, bias.shape[-1], *spatial))


def binary_focal_crossentropy(
    target: Any,
    output: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
) -> Any:
    """Binary crossentropy that weighs easy examples less, element by element."""
    probability = ops.sigmoid(output) if from_logits else output
    right = target * probability + (1 - target) * (1 - probability)
    loss = ops.power(1 - right, gamma) * ops.binary_crossentropy(target, output, from_logits=from_logits)
    return (target * alpha + (1 - target) * (1 - alpha)) * loss if apply_class_balancing else loss


def categorical_focal_crossentropy(
    target: Any, output: Any, alpha: Any = 0.25, gamma: float = 2.0, from_logits: bool = False, axis: int = -1
) -> Any:
    """Crossentropy of classes that weighs easy examples less."""
    if from_logits:
        probability = ops.softmax(output, axis=axis)
    else:
        probability = ops.divide(output, ops.sum(output, axis=axis, keepdims=True))
    probability = ops.clip(probability, config.epsilon(), 1 - config.epsilon())
    loss = ops.multiply(target, -ops.log(probability) * ops.power(1 - probability, gamma))
    return ops.sum(loss * alpha, axis=axis)


def conv1d(
    x: Any, kernel: Any, strides: int = 1, padding: str = "valid", data_format: Any = None, dilation_rate: int = 1
) -> Any:
    """Convolution over one axis; padding may be "causal"."""
    if padding == "causal":
        left, padding = dilation_rate * (kernel.shape[0] - 1), "valid"
        last = config.standardize_data_format(data_format) == "channels_last"
        x = ops.pad(x, ((0, 0), (left, 0), (0, 0)) if last else ((0, 0), (0, 0), (left, 0)))
    return ops.conv(x, kernel, strides, padding, data_format, dilation_rate)


def conv2d(
    x: Any, kernel: Any, strides: Any = (1, 1), padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Convolution over two axes."""
    return ops.conv(x, kernel, strides, padding, data_format, dilation_rate)


conv3d = conv2d


def conv2d_transpose(
    x: Any,
    kernel: Any,
    output_shape: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    """Transposed convolution over two axes, with the kernel (height, width, out, in), cut to `output_shape`."""
    last = config.standardize_data_format(data_format) == "channels_last"
    images = ops.transpose(x, (0, 3, 1, 2)) if last else x
    weight = ops.transpose(kernel, (3, 2, 0, 1))
    result = functional.conv_transpose2d(images, weight, stride=strides, dilation=dilation_rate)
    for axis, size in zip((2, 3), output_shape[1:3] if last else output_shape[2:4], strict=True):
        result = _cut(result, axis, size, padding)
    return ops.transpose(result, (0, 2, 3, 1)) if last else result


def _cut(x: Any, axis: int, size: int, padding: str) -> Any:
    """An axis cut to a size: on both sides where the padding is "same", else at the end; filled up where too short."""
    surplus = x.shape[axis] - size
    if surplus < 0:
        return ops.pad(x, [(0, -surplus if i == axis else 0) for i in range(len(x.shape))])
    first = surplus // 2 if padding == "same" else 0
    return ops.take(x, range(first, first + size), axis=axis)


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Any:
    """The CTC loss of each sample (batch, 1); `y_pred` holds probabilities, the blank last; lengths are (batch, 1)."""
    chances = ops.log_softmax(ops.log(ops.add(y_pred, config.epsilon())))
    lengths = [ops.reshape(ops.cast(length, "int64"), (-1,)) for length in (input_length, label_length)]
    steps_first, labels, blank = ops.transpose(chances, (1, 0, 2)), ops.cast(y_true, "int64"), y_pred.shape[-1] - 1
    losses = functional.ctc_loss(steps_first, labels, *lengths, blank=blank, reduction="none")
    return ops.expand_dims(losses, 1)


def ctc_decode(
    y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[Any], Any]:
    """The most likely label sequences, padded with -1, and the negative sums of their log probabilities (batch, 1)."""
    if not greedy:
        raise ArgumentError("Only greedy decoding is there.", where="keras.backend.ctc_decode", fix="use greedy=True")
    probabilities = ops.convert_to_tensor(y_pred)
    best, classes = probabilities.log().max(-1)
    paths, scores = [], []
    for path, chance, length in zip(classes, best, ops.convert_to_numpy(input_length).ravel(), strict=True):
        merged = path[: int(length)].unique_consecutive()
        paths.append(merged[merged != probabilities.shape[-1] - 1])
        scores.append(-chance[: int(length)].sum())
    return [rnn_utils.pad_sequence(paths, batch_first=True, padding_value=-1)], ops.expand_dims(ops.stack(scores), 1)


def depthwise_conv2d(
    x: Any,
    depthwise_kernel: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    """Convolution of each channel by itself."""
    return ops.depthwise_conv(x, depthwise_kernel, strides, padding, data_format, dilation_rate)


def dropout(x: Any, level: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """Elements set to zero at random, the others scaled up."""
    return random.dropout(x, level, noise_shape, seed)


def in_top_k(predictions: Any, targets: Any, k: int) -> Any:
    """Whether each target is among the k most likely classes."""
    return ops.in_top_k(targets, predictions, k)


def pool2d(
    x: Any,
    pool_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: Any = None,
    pool_mode: str = "max",
) -> Any:
    """The maximum ("max") or the mean ("avg") of each window."""
    pool = ops.max_pool if pool_mode == "max" else ops.average_pool
    return pool(x, pool_size, strides, padding, data_format)


pool3d = pool2d


def random_bernoulli(shape: Sequence[int], p: float = 0.0, dtype: Any = None, seed: Any = None) -> Any:
    """Ones with probability p, else zeros."""
    return ops.cast(random.uniform(shape, seed=seed) <= p, dtype or config.floatx())


def random_normal(
    shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    """Random numbers of a normal distribution."""
    return random.normal(shape, mean, stddev, dtype, seed)


def random_uniform(
    shape: Sequence[int], minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    """Random numbers of a uniform distribution."""
    return random.uniform(shape, minval, maxval, dtype, seed)


random_binomial = random_bernoulli


def random_normal_variable(
    shape: Sequence[int], mean: float, scale: float, dtype: Any = None, name: str | None = None, seed: Any = None
) -> Any:
    """A variable of random numbers of a normal distribution."""
    return backend.variable(random.normal(shape, mean, scale, seed=seed), dtype, name)


def random_uniform_variable(
    shape: Sequence[int], low: float, high: float, dtype: Any = None, name: str | None = None, seed: Any = None
) -> Any:
    """A variable of random numbers of a uniform distribution."""
    return backend.variable(random.uniform(shape, low, high, seed=seed), dtype, name)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """x above the threshold (at most max_value), alpha * (x - threshold) below it."""
    above = ops.where(x >= threshold, x, 0.0)
    above = above if max_value is None else ops.clip(above, 0.0, max_value)
    return above if alpha == 0.0 else above - alpha * ops.relu(threshold - x)


def resize_images(
    x: Any, height_factor: int, width_factor: int, data_format: str, interpolation: str = "nearest"
) -> Any:
    """Images (batch, height, width, channels) enlarged by whole factors."""
    return UpSampling2D((height_factor, width_factor), data_format, interpolation)(x)


def resize_volumes(x: Any, depth_factor: int, height_factor: int, width_factor: int, data_format: str) -> Any:
    """Volumes enlarged by whole factors."""
    first = 1 if data_format == "channels_last" else 2
    for axis, factor in enumerate((depth_factor, height_factor, width_factor), start=first):
        x = ops.repeat(x, factor, axis=axis)
    return x


def rnn(
    step_function: Callable[[Any, list[Any]], tuple[Any, list[Any]]],
    inputs: Any,
    initial_states: Sequence[Any],
    go_backwards: bool = False,
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool = False,
    input_length: int | None = None,
) -> tuple[Any, Any, list[Any]]:
    """A function of (input, states) over the time steps of (batch, time, ...): last output, outputs, last states."""
    states, extra, outputs = list(initial_states), list(constants or []), []
    steps = ops.unstack(inputs, axis=1)
    masks = ops.unstack(mask, axis=1) if mask is not None else [None] * len(steps)
    order = reversed(range(len(steps))) if go_backwards else range(len(steps))
    output: Any = None
    for step in order:
        new_output, new_states = step_function(steps[step], states + extra)
        keep = masks[step]
        if keep is not None:
            before = ops.zeros_like(new_output) if output is None else output
            new_output = _where_mask(keep, new_output, before)
            new_states = [_where_mask(keep, new, old) for new, old in zip(new_states, states, strict=True)]
        output, states = new_output, list(new_states)
        outputs.append(output)
    return output, ops.stack(outputs, axis=1), states


def separable_conv2d(
    x: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    """Convolution of each channel by itself, then a mixture of channels."""
    return ops.separable_conv(x, depthwise_kernel, pointwise_kernel, strides, padding, data_format, dilation_rate)


separable_conv1d = separable_conv2d


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: Any = None) -> Any:
    """Images with zeros around them."""
    last = config.standardize_data_format(data_format) == "channels_last"
    return ops.pad(x, ((0, 0), *padding, (0, 0)) if last else ((0, 0), (0, 0), *padding))


def spatial_3d_padding(x: Any, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: Any = None) -> Any:
    """Volumes with zeros around them."""
    return spatial_2d_padding(x, padding, data_format)


def temporal_padding(x: Any, padding: tuple[int, int] = (1, 1)) -> Any:
    """Sequences (batch, time, size) with zeros before and after."""
    return ops.pad(x, ((0, 0), padding, (0, 0)))


def truncated_normal(
    shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    """Random numbers of a normal distribution, none further from the mean than twice the deviation."""
    return random.truncated_normal(shape, mean, stddev, dtype, seed)


def _where_mask(mask: Any, new: Any, old: Any) -> Any:
    shape = (*(-1 if s is None else s for s in mask.shape), *(1,) * (len(new.shape) - len(mask.shape)))
    return ops.where(ops.reshape(ops.cast(mask, "bool"), shape), new, old)
