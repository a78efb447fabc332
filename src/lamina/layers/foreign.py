"""Layers of Keras that run code of another framework: here they only say what to use in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.core.errors import UnsupportedError
from lamina.core.registry import builtin
from lamina.layers.base import Layer


@builtin("keras.layers")
class TFSMLayer(Layer):
    """Keras's layer around a TensorFlow SavedModel. It cannot be made here.

    A SavedModel is a program for TensorFlow. Rebuild the model and load its weights, or convert it to ONNX and the ONNX
    file to a torch module, which is used as a layer like any other.

    Args:
        filepath: the folder of the SavedModel.
        call_endpoint: what is called in inference.
        call_training_endpoint: what is called in training.
        trainable: whether its weights would learn.
        name: the layer's name.
        dtype: its dtype policy.

    Raises:
        UnsupportedError: always.

    Source: https://keras.io/api/layers/backend_specific_layers/tfsm_layer/
    """

    def __init__(
        self,
        filepath: str,
        call_endpoint: str = "serve",
        call_training_endpoint: str | None = None,
        trainable: bool = True,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        raise UnsupportedError(
            "A SavedModel is a program for TensorFlow, which lamina does not run.",
            where="TFSMLayer",
            fix="rebuild the model and load its weights (.weights.h5 or .keras), or convert the SavedModel to ONNX and "
            "that to a torch.nn.Module, which is a layer here",
        )


@builtin("keras.layers")
class JaxLayer(Layer):
    """Keras's layer around a function of JAX. It cannot be made here.

    Write the function with `lamina.ops` or torch; most functions of `jax.numpy` have the same name in both.

    Args:
        call_fn: the function.
        init_fn: makes its parameters.
        params: its parameters.
        state: its state.
        seed: a seed for `init_fn`.
        native_serialization_platforms: for TensorFlow.
        **kwargs: as for `Layer`.

    Raises:
        UnsupportedError: always.

    Source: https://keras.io/api/layers/backend_specific_layers/jax_layer/
    """

    def __init__(
        self,
        call_fn: Callable[..., Any],
        init_fn: Callable[..., Any] | None = None,
        params: Any = None,
        state: Any = None,
        seed: int | None = None,
        native_serialization_platforms: Any = None,
        **kwargs: Any,
    ) -> None:
        _refuse_jax("JaxLayer")


@builtin("keras.layers")
class FlaxLayer(JaxLayer):
    """Keras's layer around a module of Flax. It cannot be made here.

    Use a `torch.nn.Module` in its place: every one is a layer. Weights go over as arrays.

    Args:
        module: the module.
        method: which of its methods is called.
        variables: its variables.
        **kwargs: as for `Layer`.

    Raises:
        UnsupportedError: always.

    Source: https://keras.io/api/layers/backend_specific_layers/flax_layer/
    """

    def __init__(self, module: Any, method: Any = None, variables: Any = None, **kwargs: Any) -> None:
        _refuse_jax("FlaxLayer")


def _refuse_jax(name: str) -> None:
    raise UnsupportedError(
        "Gradients of JAX do not reach torch, so a layer cannot run JAX code.",
        where=name,
        fix="write the computation with lamina.ops or torch, or use a torch.nn.Module, which is a layer here",
    )
