"""What every loss is made of: ranks made equal, weights and masks applied, values reduced to one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from lamina.core import config, policies, tree
from lamina.core.capture import Captured
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentTypeError, ShapeError, one_of, unwritten
from lamina.core.naming import auto_name
from lamina.core.registry import builtin, builtin_name
from lamina.core.serialization import serialize_keras_object
from lamina.core.tensors import convert_to_tensor

Tensor = torch.Tensor
LossFunction = Callable[..., Tensor]
_F = TypeVar("_F", bound=Callable[..., Any])

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
REDUCTIONS = (*MEANS, "sum", "none", None)

_ACTIVATIONS = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
_overall: dict[Any, Callable[..., Tensor | None]] = {}
_index_losses: set[Any] = set()


def standardize_reduction(reduction: str | None) -> str | None:
    """The reduction itself; any value that is not one is an error."""
    if reduction not in REDUCTIONS:
        one_of(reduction, REDUCTIONS, "reduction")
    return reduction


def align_ranks(first: Tensor, second: Tensor, expand_rank_1: bool = True) -> tuple[Tensor, Tensor]:
    """The two with a last axis of size 1 dropped or added where their ranks differ by one.

    A tensor of shape (n,) becomes (n, 1) beside one of shape (n, 1); otherwise the longer one loses its last axis.

    Example:
        >>> [tuple(t.shape) for t in align_ranks(torch.ones(4), torch.ones(4, 1))]
        [(4, 1), (4, 1)]
    """
    difference = first.dim() - second.dim()
    if difference == 1 and first.shape[-1] == 1:
        if second.dim() == 1 and expand_rank_1:
            return first, second.unsqueeze(-1)
        return first.squeeze(-1), second
    if difference == -1 and second.shape[-1] == 1:
        if first.dim() == 1 and expand_rank_1:
            return first.unsqueeze(-1), second
        return first, second.squeeze(-1)
    return first, second


def pair(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Targets and predictions as tensors of one float dtype, one rank and one shape.

    Raises:
        ShapeError: the shapes cannot be broadcast together.
    """
    y_true, y_pred = tensors(y_true, y_pred)
    if y_true.shape == y_pred.shape:
        return y_true, y_pred
    y_true, y_pred = align_ranks(y_true, y_pred)
    if y_true.shape == y_pred.shape:
        return y_true, y_pred
    try:
        y_true, y_pred = torch.broadcast_tensors(y_true, y_pred)
    except RuntimeError:
        raise mismatch(y_true, y_pred, "make the last layer's units equal to the number of targets") from None
    return y_true, y_pred


def tensors(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Targets and predictions as tensors of the predictions' float dtype, shapes as they are."""
    if not isinstance(y_pred, Tensor):
        y_pred = convert_to_tensor(y_pred)
    if not y_pred.is_floating_point():
        y_pred = y_pred.to(torch_dtype(None))
    if not isinstance(y_true, Tensor):
        y_true = convert_to_tensor(y_true, y_pred.dtype, y_pred.device)
    elif y_true.dtype is not y_pred.dtype:
        y_true = y_true.to(y_pred.dtype)
    return y_true, y_pred


def made_by(y_pred: Tensor) -> str | None:
    """The activation that made predictions which carry their logits: "softmax", "sigmoid", or None if not known."""
    known = getattr(y_pred, "_keras_activation", None)
    if known is None and y_pred.grad_fn is not None:
        known = _ACTIVATIONS.get(y_pred.grad_fn.name())
    return known


def mismatch(y_true: Tensor, y_pred: Tensor, fix: str) -> ShapeError:
    """The error for targets and predictions whose shapes do not go together."""
    return ShapeError(
        "The shapes of targets and predictions do not go together.",
        where=f"y_true {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}",
        expected=f"y_true of shape {tuple(y_pred.shape)}",
        received=tuple(y_true.shape),
        fix=fix,
    )


def divide_no_nan(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, and 0 where the denominator is 0 (so are the gradients there)."""
    zero = denominator == 0
    return torch.where(zero, 0, numerator / denominator.masked_fill(zero, 1))


def apply_mask(sample_weight: Any, mask: Tensor | None, dtype: torch.dtype, reduction: str | None) -> Tensor | None:
    """Weights and mask as one weight per value; None when there is neither.

    For a mean, what the mask keeps weighs total / kept, so that dividing by the total gives the mean of what is kept.
    """
    if mask is None:
        return None if sample_weight is None else convert_to_tensor(sample_weight, dtype)
    weights = convert_to_tensor(mask, dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        kept = weights.sum()
        share = divide_no_nan(torch.full_like(kept, mask.numel()), kept)
        weights = torch.where(weights != 0, share, 0)
    if sample_weight is None:
        return weights
    weights, sample_weight = align_ranks(weights, convert_to_tensor(sample_weight, dtype, weights.device))
    return _weighted(sample_weight, weights)


def _weighted(values: Tensor, sample_weight: Tensor, grows: bool = True) -> Tensor:
    try:
        product = values * sample_weight
    except RuntimeError:
        raise _misfit(values, sample_weight) from None
    if not grows and values.dim() and product.shape != values.shape:
        raise _misfit(values, sample_weight)
    return product


def _misfit(values: Tensor, sample_weight: Tensor) -> ShapeError:
    return ShapeError(
        "The sample weights do not fit the losses.",
        where="sample_weight",
        expected=f"a shape that broadcasts to {tuple(values.shape)}, one weight per loss value",
        received=tuple(sample_weight.shape),
        fix="for one weight per sample of a sequence, give weights of shape (batch, 1)",
    )


def reduce_values(values: Tensor, sample_weight: Tensor | None = None, reduction: str | None = MEANS[0]) -> Tensor:
    """Loss values, already weighted, as one number; as they are for the reduction "none"."""
    if reduction is None or reduction == "none" or values.dim() == 0 or values.shape == (0,):
        return values
    if reduction == "sum" or values.numel() == 0:
        return values.sum()
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        return divide_no_nan(values.sum(), sample_weight.sum().to(values.dtype))
    return values.mean()


def reduce_weighted_values(
    values: Tensor,
    sample_weight: Any = None,
    mask: Tensor | None = None,
    reduction: str | None = MEANS[0],
    dtype: Any = None,
) -> Tensor:
    """Per-sample loss values to one number, with weights, a mask and a reduction.

    Args:
        values: the losses, of shape (batch, ...).
        sample_weight: weights that broadcast to the losses, or None.
        mask: which values count, or None.
        reduction: "sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none" or None.
        dtype: the dtype to compute in; that of the values by default.

    Example:
        >>> reduce_weighted_values(torch.tensor([1.0, 3.0]), sample_weight=[1.0, 0.0])
        tensor(0.5000)
    """
    standardize_reduction(reduction)
    if not isinstance(values, Tensor):
        raise ArgumentTypeError(
            "A loss gave something other than a tensor.",
            where="reduce_weighted_values(values=...)",
            expected="one value per sample, computed from y_pred with lamina.ops or torch",
            received=f"{values!r} ({type(values).__name__})",
            fix="return the result from the loss function" if values is None else None,
        )
    if dtype is not None:
        values = values.to(torch_dtype(dtype))
    if sample_weight is not None and not isinstance(sample_weight, Tensor):
        sample_weight = convert_to_tensor(sample_weight, values.dtype, values.device)
    weights = apply_mask(sample_weight, mask, values.dtype, reduction)
    if weights is not None:
        values, weights = align_ranks(values, weights)
        values = _weighted(values, weights, grows=False)
    return reduce_values(values, weights, reduction)


def overall(mean: Callable[..., Tensor | None], *, indices: bool = False) -> Callable[[_F], _F]:
    """Give a loss function a shortcut: its mean over a whole batch in fewer torch calls.

    `mean` takes the same arguments and returns None where the shortcut does not apply. With `indices`, the targets
    are class indices and are never cast to the dtype of the predictions.
    """

    def register(function: _F) -> _F:
        _overall[function] = mean
        if indices:
            _index_losses.add(function)
        return function

    return register


def shortcut(function: Any) -> tuple[Callable[..., Tensor | None], bool] | None:
    """The shortcut of a loss function and whether its targets may be of any dtype, or None."""
    try:
        mean = _overall.get(function)
    except TypeError:
        return None
    return None if mean is None else (mean, function in _index_losses)


def is_loss(function: Any) -> bool:
    """Whether it is a loss, or one of lamina's loss functions: something that shall become small."""
    return isinstance(function, Loss) or (builtin_name(function) or ("", ""))[0] == "keras.losses"


@builtin("keras.losses")
class Loss(Captured):
    """Base of all losses: a subclass writes `call(y_true, y_pred)`, which returns one value per sample.

    Args:
        name: its name; the class name in snake case by default.
        reduction: how the values per sample become one number. "sum_over_batch_size" and "mean" divide the sum by
            the number of values, "mean_with_sample_weight" by the sum of the weights; "sum" adds; "none" and None
            leave them.
        dtype: the dtype to compute in, or a dtype policy; floatx by default.

    Raises:
        ArgumentError: an unknown reduction.

    Example:
        >>> class Worst(Loss):
        ...     def call(self, y_true, y_pred):
        ...         return (y_true - y_pred).abs().amax(-1)
        >>> Worst()(torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]))
        tensor(2.)

    Source: https://keras.io/api/losses/
    """

    def __init__(self, name: str | None = None, reduction: str | None = MEANS[0], dtype: Any = None) -> None:
        self.name = name or auto_name(type(self).__name__)
        self.reduction = standardize_reduction(reduction)
        self._dtype_policy = policies.get(dtype or config.floatx())
        self._torch_dtype = torch_dtype(self._dtype_policy.compute_dtype)

    @property
    def dtype(self) -> str:
        """The dtype the loss is computed in."""
        return self._dtype_policy.compute_dtype

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """One loss value per sample."""
        raise unwritten(self, "call(self, y_true, y_pred)")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch.

        Args:
            y_true: targets.
            y_pred: predictions; a mask on them says which count.
            sample_weight: weights that broadcast to the losses per sample.
        """
        mask = getattr(y_pred, "_keras_mask", None)
        y_pred = self._converted(y_pred)
        losses = self.call(self._converted_targets(y_true, y_pred), y_pred)
        own_mask = getattr(losses, "_keras_mask", None)
        if own_mask is not None:
            mask = own_mask if mask is None else mask & own_mask
        return reduce_weighted_values(losses, sample_weight, mask, self.reduction, self._torch_dtype)

    def _converted(self, value: Any, device: torch.device | None = None) -> Any:
        """A value, or each of a nest of them, as a tensor of this loss's dtype."""
        if isinstance(value, Tensor):
            if value.dtype is self._torch_dtype:
                return value
            converted = value.to(self._torch_dtype)
            logits = getattr(value, "_keras_logits", None)
            if logits is not None:
                made = {"_keras_logits": logits.to(self._torch_dtype), "_keras_activation": made_by(value)}
                vars(converted).update(made)
            return converted
        if isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and _holds_arrays(value)):
            return tree.map_structure(lambda part: self._converted(part, device), value)
        return convert_to_tensor(value, self._torch_dtype, device)

    def _converted_targets(self, y_true: Any, y_pred: Any) -> Any:
        """The targets as tensors, beside the predictions."""
        return self._converted(y_true, y_pred.device if isinstance(y_pred, Tensor) else None)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; the dtype only where it is not the default one."""
        given = super().get_config()
        if given.get("dtype") in (None, config.floatx()):
            given.pop("dtype", None)
        return given


def _holds_arrays(value: list[Any] | tuple[Any, ...]) -> bool:
    return any(hasattr(leaf, "shape") for leaf in tree.flatten(value))


@builtin("keras.losses")
class LossFunctionWrapper(Loss):
    """A loss made of a function of (y_true, y_pred, **kwargs) that returns one value per sample.

    Args:
        fn: the function.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.
        **kwargs: passed on to the function.

    Example:
        >>> loss = LossFunctionWrapper(lambda y_true, y_pred: (y_true - y_pred).abs().amax(-1))
        >>> loss(torch.zeros(1, 2), torch.tensor([[1.0, -2.0]]))
        tensor(2.)
    """

    _config_drops: Mapping[str, Any] = {}

    def __init__(
        self,
        fn: LossFunction,
        reduction: str | None = MEANS[0],
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not callable(fn):
            raise ArgumentTypeError(
                "This is no loss function.", where="fn", expected="fn(y_true, y_pred)", received=repr(fn)
            )
        self.fn = fn
        self._fn_kwargs = kwargs
        found = shortcut(fn)
        self._mean = found[0] if found is not None and reduction in MEANS else None
        self._indices = found is not None and found[1]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch; see `Loss`."""
        if (
            self._mean is not None
            and sample_weight is None
            and isinstance(y_pred, Tensor)
            and isinstance(y_true, Tensor)
            and getattr(y_pred, "_keras_mask", None) is None
        ):
            y_pred = self._converted(y_pred)
            y_true = self._converted_targets(y_true, y_pred)
            mean = self._mean(y_true, y_pred, **self._fn_kwargs)
            if mean is not None:
                return mean
        return super().__call__(y_true, y_pred, sample_weight)

    def _converted_targets(self, y_true: Any, y_pred: Any) -> Any:
        if not self._indices:
            return super()._converted_targets(y_true, y_pred)
        return y_true if isinstance(y_true, Tensor) else convert_to_tensor(y_true, device=y_pred.device)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """One loss value per sample."""
        if isinstance(y_true, Tensor) and isinstance(y_pred, Tensor):
            y_true, aligned = align_ranks(y_true, y_pred)
            return self.fn(y_true, aligned, **self._fn_kwargs)
        pairs = tree.map_structure_up_to(y_true, align_ranks, y_true, y_pred)
        first = tree.map_structure_up_to(y_true, lambda both: both[0], pairs)
        second = tree.map_structure_up_to(y_true, lambda both: both[1], pairs)
        return self.fn(first, second, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; those that Keras leaves out only where they are not the default."""
        if type(self) is LossFunctionWrapper:
            function = serialize_keras_object(self.fn)
            return {
                "name": self.name,
                "reduction": self.reduction,
                "fn": function,
                **serialize_keras_object(self._fn_kwargs),
            }
        given = super().get_config()
        for key, default in self._config_drops.items():
            if key in given and given[key] == default:
                del given[key]
        return given

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, reduction={self.reduction}>"
