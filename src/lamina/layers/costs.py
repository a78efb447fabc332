"""What a layer costs: operations for one sample, and bytes of weights and outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lamina.core import tree
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import LaminaError
from lamina.core.tensors import default_device
from lamina.graph.tensor import KerasTensor


class Cost(NamedTuple):
    """The cost of a layer for one sample; sizes that are unknown count as 1.

    Args:
        flops: multiplications and additions in matrix products, convolutions and attention; None if unknown.
        weights: bytes of weights.
        outputs: bytes of outputs; None if unknown.
    """

    flops: int | None
    weights: int
    outputs: int | None


def cost_of(part: Any, model: Any = None) -> Cost:
    """What a layer costs for one sample, in all its calls in a model; found without computing anything.

    Args:
        part: a layer, or an operation of a graph.
        model: the model it is part of.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((100,)), layers.Dense(10)])
        >>> cost_of(model.layers[0], model)
        Cost(flops=2000, weights=4040, outputs=40)
    """
    weights = getattr(part, "weights", ())
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    nodes = [node for node in getattr(model, "_nodes", None) or () if node.operation is part]
    nodes = nodes or getattr(part, "_inbound_nodes", [])[:1]
    calls = [(node.args, node.kwargs, node.outputs) for node in nodes if not node.is_input]
    if not nodes and getattr(part, "_build_shapes", None):
        dtype = getattr(part, "compute_dtype", None) or "float32"
        shapes = tree.map_shape_structure(lambda shape: KerasTensor(shape, dtype), tuple(part._build_shapes.values()))
        calls = [(shapes, {}, None)]
    elif nodes and not calls:
        return Cost(0, size, sum(_bytes(node.outputs) for node in nodes))
    try:
        found = [_of_call(part, *call) for call in calls]
    except (LaminaError, NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError):
        found = []
    if not found:
        return Cost(None, size, None)
    return Cost(sum(flops for flops, _ in found), size, sum(outputs for _, outputs in found))


def _of_call(part: Any, args: Any, kwargs: Any, outputs: Any) -> tuple[int, int]:
    """Operations and bytes of outputs of a call with symbolic tensors."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    # What torch's counter does not know.
    mapping: dict[Any, Any] = {
        torch.ops.lamina.recurrence: _of_recurrence,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    }
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), counter:
        args, kwargs = tree.map_structure(_stand_in, (args, kwargs))
        made = part(*args, **kwargs)
    return counter.get_total_flops(), _bytes(made if outputs is None else outputs)


def _stand_in(leaf: Any) -> Any:
    if not isinstance(leaf, KerasTensor):
        return leaf
    tensor = torch.empty([size or 1 for size in leaf.shape], dtype=torch_dtype(leaf.dtype), device=default_device())
    mask = getattr(leaf, "_keras_mask", None)
    if mask is not None:
        tensor._keras_mask = _stand_in(mask)  # pyright: ignore[reportAttributeAccessIssue]
    return tensor


def _of_recurrence(
    kind: str, x: Iterable[int], h: Any, c: Any, kernel: Any, recurrent_kernel: Any, *rest: Any, **kwargs: Any
) -> int:
    """Operations of a whole sequence, for the shapes of its tensors."""
    steps, batch, _ = x
    return 2 * steps * batch * (math.prod(kernel) + math.prod(recurrent_kernel))


def _bytes(tensors: Any) -> int:
    leaves = [leaf for leaf in tree.flatten(tensors) if hasattr(leaf, "shape")]
    kinds = [leaf.dtype if isinstance(leaf.dtype, torch.dtype) else torch_dtype(leaf.dtype) for leaf in leaves]
    sizes = [math.prod(size or 1 for size in leaf.shape) for leaf in leaves]
    return sum(size * kind.itemsize for size, kind in zip(sizes, kinds, strict=True))
