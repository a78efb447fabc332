"""Activation functions: rectifiers, sigmoids, shrinkage and the softmax family.

Each takes `x`, a tensor of any shape or a value that becomes one, and gives a tensor of the same shape.
Integers become floatx where the result is no integer. Source, where no paper is named:
https://keras.io/api/ops/nn/
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.errors import ShapeError, warn_once
from lamina.graph.op import op
from lamina.ops.operands import Axes, TensorLike, as_float, as_tensor, axes_tuple, axis_of


@op
def relu(x: TensorLike) -> Tensor:
    """`max(x, 0)`; integers stay integers.

    Example:
        >>> relu([-1.0, 0.0, 2.0])
        tensor([0., 0., 2.])
    """
    return torch.relu(as_tensor(x))


@op
def relu6(x: TensorLike) -> Tensor:
    """`min(max(x, 0), 6)`; integers stay integers.

    Example:
        >>> relu6([-1.0, 3.0, 9.0])
        tensor([0., 3., 6.])
    """
    return F.relu6(as_tensor(x))


@op
def leaky_relu(x: TensorLike, negative_slope: float = 0.2) -> Tensor:
    """`x` where it is positive, `negative_slope * x` elsewhere.

    Args:
        x: the input.
        negative_slope: the slope below zero.

    Example:
        >>> leaky_relu([-1.0, 2.0])
        tensor([-0.2000,  2.0000])
    """
    return F.leaky_relu(as_float(x), negative_slope)


@op
def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """`x` where it is positive, `alpha * (exp(x) - 1)` elsewhere.

    Args:
        x: the input.
        alpha: minus the value approached far below zero.

    Example:
        >>> elu([-1.0, 2.0])
        tensor([-0.6321,  2.0000])

    Source: Clevert et al., 2016, https://arxiv.org/abs/1511.07289
    """
    return F.elu(as_float(x), alpha)


@op
def selu(x: TensorLike) -> Tensor:
    """An `elu`, scaled so that deep stacks keep mean 0 and variance 1.

    Example:
        >>> selu([-1.0, 2.0])
        tensor([-1.1113,  2.1014])

    Source: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515
    """
    return torch.selu(as_float(x))


@op
def celu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """`x` where it is positive, `alpha * (exp(x / alpha) - 1)` elsewhere.

    Args:
        x: the input.
        alpha: minus the value approached far below zero.

    Example:
        >>> celu([-1.0, 2.0])
        tensor([-0.6321,  2.0000])

    Source: Barron, 2017, https://arxiv.org/abs/1704.07483
    """
    return F.celu(as_float(x), alpha)


@op
def silu(x: TensorLike) -> Tensor:
    """`x * sigmoid(x)`, also called swish.

    Example:
        >>> silu([-1.0, 2.0])
        tensor([-0.2689,  1.7616])

    Source: Ramachandran et al., 2017, https://arxiv.org/abs/1710.05941
    """
    return F.silu(as_float(x))


swish = silu


@op
def gelu(x: TensorLike, approximate: bool = True) -> Tensor:
    """`x` times the share of a standard normal distribution that lies below `x`.

    Args:
        x: the input.
        approximate: whether to use the formula with tanh, which is close and cheaper.

    Example:
        >>> gelu([-1.0, 2.0])
        tensor([-0.1588,  1.9546])

    Source: Hendrycks & Gimpel, 2016, https://arxiv.org/abs/1606.08415
    """
    return F.gelu(as_float(x), approximate="tanh" if approximate else "none")


@op
def glu(x: TensorLike, axis: int = -1) -> Tensor:
    """The first half of `x` along `axis`, times the sigmoid of the second half.

    Args:
        x: the input; the result has half its size along `axis`.
        axis: the axis to halve.

    Raises:
        ShapeError: the axis has an odd size.

    Example:
        >>> glu([1.0, 2.0, 0.0, 0.0])
        tensor([0.5000, 1.0000])

    Source: Dauphin et al., 2017, https://arxiv.org/abs/1612.08083
    """
    x = as_float(x)
    if x.shape[axis_of(axis, x.ndim)] % 2:
        raise ShapeError(
            "glu cannot halve an axis of odd size.",
            where=f"ops.glu, axis={axis}",
            expected="an even size",
            received=f"shape {tuple(x.shape)}",
        )
    return F.glu(x, axis)


@op
def sigmoid(x: TensorLike) -> Tensor:
    """`1 / (1 + exp(-x))`.

    Example:
        >>> sigmoid([0.0, 2.0])
        tensor([0.5000, 0.8808])
    """
    return torch.sigmoid(as_float(x))


@op
def log_sigmoid(x: TensorLike) -> Tensor:
    """The logarithm of the sigmoid, exact where the sigmoid itself would round to 0.

    Example:
        >>> log_sigmoid([-200.0, 0.0])
        tensor([-200.0000,   -0.6931])
    """
    return F.logsigmoid(as_float(x))


@op
def hard_sigmoid(x: TensorLike) -> Tensor:
    """`x / 6 + 1 / 2`, cut off at 0 and 1.

    Example:
        >>> hard_sigmoid([-4.0, 0.0, 4.0])
        tensor([0.0000, 0.5000, 1.0000])
    """
    return F.hardsigmoid(as_float(x))


@op
def sparse_sigmoid(x: TensorLike) -> Tensor:
    """`(x + 1) / 2`, cut off at 0 and 1.

    Example:
        >>> sparse_sigmoid([-4.0, 0.0, 4.0])
        tensor([0.0000, 0.5000, 1.0000])

    Source: Blondel et al., 2019, https://arxiv.org/abs/1901.02324
    """
    # hardtanh has no gradient at the two kinks; a clamp would have.
    return 0.5 * (F.hardtanh(as_float(x)) + 1)


@op
def hard_silu(x: TensorLike) -> Tensor:
    """`x * hard_sigmoid(x)`, also called hard swish.

    Example:
        >>> hard_silu([-4.0, 1.0, 4.0])
        tensor([-0.0000, 0.6667, 4.0000])

    Source: Howard et al., 2019, https://arxiv.org/abs/1905.02244
    """
    return F.hardswish(as_float(x))


hard_swish = hard_silu


@op
def softplus(x: TensorLike) -> Tensor:
    """`log(1 + exp(x))`.

    Example:
        >>> softplus([0.0, 100.0])
        tensor([  0.6931, 100.0000])
    """
    return F.softplus(as_float(x))


@op
def sparse_plus(x: TensorLike) -> Tensor:
    """0 up to -1, `(x + 1)**2 / 4` up to 1, then `x`.

    Example:
        >>> sparse_plus([-2.0, 0.0, 3.0])
        tensor([0.0000, 0.2500, 3.0000])
    """
    x = as_float(x)
    # The clamp keeps infinities out of the branch not taken, whose gradient would else be NaN.
    return torch.where(x < 1, 0.25 * torch.square(torch.relu(x.clamp(max=1) + 1)), x)


@op
def squareplus(x: TensorLike, b: float = 4) -> Tensor:
    """`(x + sqrt(x**2 + b)) / 2`, a softplus without exponentials.

    Args:
        x: the input.
        b: how wide the bend at zero is.

    Example:
        >>> squareplus([0.0, 3.0])
        tensor([1.0000, 3.3028])

    Source: Barron, 2021, https://arxiv.org/abs/2112.11687
    """
    x = as_float(x)
    return 0.5 * (x + torch.sqrt(x * x + b))


@op
def softsign(x: TensorLike) -> Tensor:
    """`x / (1 + |x|)`.

    Example:
        >>> softsign([-1.0, 3.0])
        tensor([-0.5000,  0.7500])
    """
    return F.softsign(as_float(x))


@op
def hard_tanh(x: TensorLike) -> Tensor:
    """`x`, cut off at -1 and 1; integers stay integers.

    Example:
        >>> hard_tanh([-4.0, 0.5, 4.0])
        tensor([-1.0000,  0.5000,  1.0000])
    """
    return F.hardtanh(as_tensor(x))


@op
def tanh_shrink(x: TensorLike) -> Tensor:
    """`x - tanh(x)`.

    Example:
        >>> tanh_shrink([0.0, 2.0])
        tensor([0.0000, 1.0360])
    """
    return F.tanhshrink(as_float(x))


@op
def hard_shrink(x: TensorLike, threshold: float = 0.5) -> Tensor:
    """`x` where its magnitude exceeds `threshold`, 0 elsewhere.

    Args:
        x: the input.
        threshold: a magnitude.

    Example:
        >>> hard_shrink([-1.0, 0.3, 2.0])
        tensor([-1.,  0.,  2.])
    """
    return F.hardshrink(as_float(x), threshold)


@op
def soft_shrink(x: TensorLike, threshold: float = 0.5) -> Tensor:
    """`x` moved towards 0 by `threshold`, and 0 where it would pass it.

    Args:
        x: the input.
        threshold: a magnitude.

    Example:
        >>> soft_shrink([-1.0, 0.3, 2.0])
        tensor([-0.5000,  0.0000,  1.5000])
    """
    return F.softshrink(as_float(x), threshold)


@op
def threshold(x: TensorLike, threshold: float, default_value: float) -> Tensor:
    """`x` where it exceeds `threshold`, `default_value` elsewhere.

    Args:
        x: the input.
        threshold: what x must exceed.
        default_value: what stands where it does not.

    Example:
        >>> threshold([-1.0, 0.5, 2.0], 0.5, 7.0)
        tensor([7., 7., 2.])
    """
    return F.threshold(as_tensor(x), threshold, default_value)


@op
def softmax(x: TensorLike, axis: Axes = -1) -> Tensor:
    """`exp(x)`, divided by its sum along `axis`.

    Args:
        x: the input.
        axis: the axis or axes that sum to 1; None for all of them.

    Example:
        >>> softmax([[0.0, 0.0], [1.0, 3.0]])
        tensor([[0.5000, 0.5000],
                [0.1192, 0.8808]])
    """
    x = as_float(x)
    if isinstance(axis, int):
        try:
            if x.shape[axis] == 1:
                _warn_of_one(x, axis)
        except IndexError:
            axis_of(axis, x.ndim)  # an error, unless the tensor is a single number
        return torch.softmax(x, axis)
    return _over_axes(torch.softmax, x, axis)


@op
def log_softmax(x: TensorLike, axis: Axes = -1) -> Tensor:
    """The logarithm of the softmax, exact where the softmax itself would round to 0.

    Args:
        x: the input.
        axis: the axis or axes whose softmax sums to 1; None for all of them.

    Example:
        >>> log_softmax([0.0, 200.0])
        tensor([-200.,    0.])
    """
    x = as_float(x)
    if isinstance(axis, int):
        return torch.log_softmax(x, axis_of(axis, x.ndim))
    return _over_axes(torch.log_softmax, x, axis)


def _over_axes(function: Callable[[Tensor, int], Tensor], x: Tensor, axes: Axes) -> Tensor:
    """A function along one axis, applied along several as if they were one."""
    moved = axes_tuple(axes, x.ndim)
    last = tuple(range(x.ndim - len(moved), x.ndim))
    x = x.movedim(moved, last)
    return function(x.flatten(x.ndim - len(moved)), -1).view(x.shape).movedim(last, moved)


def _warn_of_one(x: Tensor, axis: int) -> None:
    """A softmax over a single element is 1 whatever the input, which is hardly ever meant."""
    if -x.ndim <= axis < x.ndim and x.shape[axis] == 1 and not torch.compiler.is_compiling():
        warn_once(
            f"A softmax over axis {axis} always gives 1 here, because that axis has size 1. A sigmoid may be meant.",
            stacklevel=5,
        )


@op
def sparsemax(x: TensorLike, axis: int = -1) -> Tensor:
    """The nearest to `x` of all that is at least 0 and sums to 1 along `axis`; most of it is exactly 0.

    Args:
        x: the input.
        axis: the axis that sums to 1.

    Example:
        >>> sparsemax([[0.0, 0.2, 3.0], [1.0, 1.0, 0.0]])
        tensor([[0.0000, 0.0000, 1.0000],
                [0.5000, 0.5000, 0.0000]])

    Source: Martins & Astudillo, 2016, https://arxiv.org/abs/1602.02068
    """
    x = as_float(x)
    axis = axis_of(axis, x.ndim)
    # The result stays the same when all values move together; near 0 they keep the most digits.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    wide = wide - wide.detach().amax(axis, keepdim=True)
    falling = wide.sort(dim=axis, descending=True).values
    excess = falling.cumsum(axis) - 1
    rank = torch.arange(1, x.shape[axis] + 1, dtype=wide.dtype, device=x.device)
    rank = rank.view([-1 if i == axis else 1 for i in range(x.ndim)])
    support = (falling * rank > excess).sum(axis, keepdim=True).clamp(min=1)
    return torch.relu(wide - excess.gather(axis, support - 1) / support).to(x.dtype)
