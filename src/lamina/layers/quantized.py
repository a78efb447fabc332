"""What every layer says about quantization: its mode, and that it cannot, unless a subclass can."""

from __future__ import annotations

from typing import Any

from lamina.core import scopes
from lamina.core.errors import UnsupportedError
from lamina.core.policies import DTypePolicy, DTypePolicyMap
from lamina.layers.weights import WeightOwner


class Quantizable(WeightOwner):
    """The part of a layer that knows which dtype policy is its own, and whether that is one of quantized weights."""

    def _policy(self) -> DTypePolicy:
        """The layer's own policy: of a map of policies that which stands for its path."""
        policy = self.dtype_policy
        if not isinstance(policy, DTypePolicyMap):
            return policy
        return policy[scopes.current_path() if self._building else self.path]

    @property
    def variable_dtype(self) -> str:
        """The dtype of the weights."""
        return self._policy().variable_dtype

    @property
    def quantization_mode(self) -> str | None:
        """How the weights are quantized: "int8", "int4", "float8", "gptq", "awq", or None."""
        return self._policy().quantization_mode

    def quantize(self, mode: str | None = None, type_check: bool = True, config: Any = None) -> None:
        """Quantize the weights in place; only some layers can.

        Args:
            mode: "int8", "int4", "float8", "gptq" or "awq"; that of the config by default.
            type_check: whether to refuse classes of a program's own, whose `call` would no longer be used.
            config: the settings; those of the mode by default.

        Raises:
            UnsupportedError: the layer cannot.
        """
        raise self._cannot("quantize")

    def quantized_build(self, input_shape: Any, mode: str) -> None:
        """Make the weights of a mode; only some layers can.

        Raises:
            UnsupportedError: the layer cannot.
        """
        raise self._cannot("quantized_build")

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        """What is computed in place of `call` when the layer is quantized.

        Raises:
            UnsupportedError: the layer cannot be.
        """
        raise self._cannot("quantized_call")

    def _cannot(self, method: str) -> UnsupportedError:
        return UnsupportedError(
            f"Layer {type(self).__name__} does not have a `{method}` method implemented.",
            where=self._where(),
            fix="quantize a Dense, EinsumDense, Embedding or ReversibleEmbedding layer, or a whole model of them",
        )
