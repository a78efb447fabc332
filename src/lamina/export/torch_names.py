"""The weights of a model under the names, and in the layouts, that torch's own modules give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lamina import layers

Weights = dict[str, Tensor]


def torch_state_dict(model: nn.Module) -> Weights:
    """Weights as torch's `Linear`, `Conv2d`, `BatchNorm2d`, `LSTM` and so on would keep them.

    Each layer's weights stand under its path in the model. A dense kernel becomes `weight`, (out, in), that of a
    convolution `weight`, (out, in, height, width); normalization gets `weight`, `bias`, `running_mean` and
    `running_var`; a recurrent layer `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0` and `bias_hh_l0`. Layers without a
    counterpart in torch keep their names. Seeds and counters are left out.

    Args:
        model: a built model.

    Example:
        >>> from lamina import layers, models
        >>> model = models.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3, name="stem")])
        >>> {name: tuple(weight.shape) for name, weight in torch_state_dict(model).items()}
        {'stem.weight': (4, 3, 3, 3), 'stem.bias': (4,)}
    """
    state: Weights = {}
    done: set[str] = set()
    for path, module in model.named_modules():
        kind = type(module)
        if kind in _LAYERS and not any(path.startswith(f"{outer}.") for outer in done):
            found = _LAYERS[kind](module)
            done.add(path)
            state.update({f"{path}.{name}" if path else name: _plain(weight) for name, weight in found.items()})
    for name, weight in model.state_dict().items():
        if not any(name.startswith(f"{path}.") or not path for path in done) and weight.is_floating_point():
            state[name] = _plain(weight)
    return state


def _plain(weight: Tensor) -> Tensor:
    return weight.detach().as_subclass(Tensor).contiguous()


def _dense(layer: Any) -> Weights:
    return {"weight": layer.kernel.t()} | _bias(layer)


def _bias(layer: Any) -> Weights:
    return {} if getattr(layer, "bias", None) is None else {"bias": layer.bias}


def _convolution(layer: Any) -> Weights:
    return {"weight": layer.kernel.permute(-1, -2, *range(layer.kernel.ndim - 2))} | _bias(layer)


def _depthwise(layer: Any) -> Weights:
    kernel = layer.kernel.permute(-2, -1, *range(layer.kernel.ndim - 2))
    return {"weight": kernel.reshape(-1, 1, *kernel.shape[2:])} | _bias(layer)


def _normalization(layer: Any) -> Weights:
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    found = {name: getattr(layer, own, None) for own, name in names.items()}
    return {name: weight for name, weight in found.items() if isinstance(weight, Tensor)}


def _embedding(layer: Any) -> Weights:
    return {"weight": layer.embeddings}


def _recurrent(layer: Any) -> Weights:
    cell = layer.cell
    kernel, recurrent = cell.kernel.t(), cell.recurrent_kernel.t()
    bias = cell.bias if getattr(cell, "bias", None) is not None else kernel.new_zeros(len(kernel))
    both = bias if bias.ndim == 2 else torch.stack((bias, torch.zeros_like(bias)))
    weights = {"weight_ih_l0": kernel, "weight_hh_l0": recurrent, "bias_ih_l0": both[0], "bias_hh_l0": both[1]}
    if isinstance(layer, layers.GRU):  # z, r, h here, r, z, h there
        return {name: torch.cat([weight.chunk(3)[gate] for gate in (1, 0, 2)]) for name, weight in weights.items()}
    return weights


_NORMALIZATIONS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
)
_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
_LAYERS: dict[type, Callable[[Any], Weights]] = {
    layers.Dense: _dense,
    layers.Embedding: _embedding,
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    **dict.fromkeys(_NORMALIZATIONS, _normalization),
    **dict.fromkeys((layers.LSTM, layers.GRU, layers.SimpleRNN), _recurrent),
}
