"""Members of Keras's layers that stand beside the call: other names, and views for torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from lamina.core.errors import UnsupportedError
from lamina.core.rematerialization import RematMode
from lamina.core.variable import Variable
from lamina.layers.rematerialized import Rematerialized, rematerialized
from lamina.layers.weights import WeightOwner


class Members(WeightOwner):
    """Part of every layer."""

    _remat_mode: RematMode | None = None
    compute_output_spec: Callable[..., Any]

    def add_variable(
        self,
        shape: Sequence[int] | int,
        initializer: Any,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Make a weight; `add_weight` is its other name and says more."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=trainable,
            autocast=autocast,
            regularizer=regularizer,
            constraint=constraint,
            name=name,
        )

    def add_metric(self, *args: Any, **kwargs: Any) -> Any:
        """Keras 2's way to a metric, which Keras 3 has no more.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "Layers have no add_metric().",
            where=self._where(),
            fix="pass metrics to compile(), or keep a metric as an attribute and call its update_state() in call()",
        )

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for symbolic inputs, as symbolic tensors that are not part of a graph."""
        return self.compute_output_spec(*args, **kwargs)

    def rematerialized_call(self, layer_call: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """The method, made to compute its results once more in the backward pass where a RematScope asked for it.

        Args:
            layer_call: `call`, or another method of the layer.
            *args: what it will be called with.
            **kwargs: what it will be called with.
        """
        if self._remat_mode is None:
            return layer_call
        return rematerialized(self, self._remat_mode, layer_call, args, kwargs)

    @property
    def torch_params(self) -> nn.ParameterDict:
        """The variables by their paths."""
        return nn.ParameterDict({variable.path: variable for variable in self.variables})

    def _rematerialize(self, mode: RematMode) -> None:
        """Do as a RematScope says, from now on."""
        self.__dict__.update(_remat_mode=mode, call=Rematerialized(self, mode))
