"""Any torch module as a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lamina.core.errors import ArgumentError, ArgumentTypeError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_numpy
from lamina.layers.base import Layer


@builtin("keras.layers")
class TorchModuleWrapper(Layer):
    """A `torch.nn.Module` standing where a layer stands: it follows the mode, and its weights are the layer's.

    Args:
        module: the module; lazy ones become real at the first call.
        name: the layer's name.
        output_shape: kept for Keras; the shape is found by running the module on tensors without data.

    Raises:
        ArgumentTypeError: `module` is no torch module.

    Example:
        >>> TorchModuleWrapper(nn.Linear(3, 2)).compute_output_shape((None, 3))
        (None, 2)

    Source: https://keras.io/api/layers/backend_specific_layers/torch_module_wrapper/
    """

    def __init__(self, module: nn.Module, name: str | None = None, output_shape: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not isinstance(module, nn.Module):
            raise ArgumentTypeError(
                "This is no torch module.",
                where="TorchModuleWrapper(module=...)",
                expected="torch.nn.Module",
                received=type(module).__name__,
            )
        self.module = module

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self.module(*args, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        """Write the module's state into a mapping, under the module's own names."""
        for key, value in self.module.state_dict().items():
            store[key] = convert_to_numpy(value)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read the module's state from a mapping.

        Raises:
            ArgumentError: names or shapes differ from the module's.
        """
        state = {key: torch.as_tensor(np.asarray(store[key])) for key in store.keys()}  # noqa: SIM118
        try:
            self.module.load_state_dict(state)
        except RuntimeError as error:
            raise ArgumentError(
                "The file does not fit the torch module.",
                where=self._where(),
                received=str(error),
                fix="make the module as it was when the file was saved",
            ) from None
