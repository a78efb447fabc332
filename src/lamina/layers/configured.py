"""The part of a layer that takes the arguments of its constructor, and says later what they were."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Self

from lamina.core import policies
from lamina.core.capture import Captured, accepts, constructor_config, revive
from lamina.core.errors import ArgumentError, ArgumentTypeError, listing, nearest

# Arguments of older Keras versions, or of features offered in other ways, that say nothing when they are None.
_SILENT = frozenset({"quantization_config", "lora_rank", "lora_alpha", "weights", "ragged", "sparse"})


class Configured(Captured):
    """Base of layers: arguments of older Keras versions, and the config."""

    name: str
    dtype_policy: policies.DTypePolicy
    _trainable: bool

    def _legacy_arguments(self, kwargs: dict[str, Any]) -> None:
        """The input shape named by a first layer, as older scripts do."""
        shape = kwargs.pop("batch_input_shape", None) or kwargs.pop("batch_shape", None)
        batch_size = kwargs.pop("batch_size", None)
        input_shape = kwargs.pop("input_shape", None)
        input_dim = kwargs.pop("input_dim", None)
        if input_shape is None and input_dim is not None:
            input_shape = (input_dim,)
        if input_shape is not None:
            input_shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
            shape = (batch_size, *input_shape)
        self.__dict__["_batch_input_shape"] = tuple(shape) if shape is not None else None
        for key in _SILENT & kwargs.keys():
            if not kwargs[key]:
                del kwargs[key]
        if kwargs:
            key = next(iter(kwargs))
            known = {*_constructor_names(type(self)), "input_shape", "input_dim", "batch_input_shape"}
            raise ArgumentError(
                f"Unknown argument {key!r}.{nearest(key, known)}",
                where=f"{type(self).__name__}()",
                expected=listing(known - {"self"}, 20),
                received=f"{key}={kwargs[key]!r}",
            )

    def get_config(self) -> dict[str, Any]:
        """Name, trainable, dtype and the constructor arguments, as values that fit into JSON."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self._trainable,
            "dtype": policies.serialize(self.dtype_policy),
        }
        config = {**config, **constructor_config(self), **config}
        if config.get("activity_regularizer") is None:
            config.pop("activity_regularizer", None)
        for key in ("input_shape", "input_dim", "batch_input_shape", "batch_size", "autocast"):
            if key not in _constructor_names(type(self)):
                config.pop(key, None)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A layer made from a config.

        Raises:
            ArgumentTypeError: the constructor does not take what the config says.
        """
        if not isinstance(config, Mapping):
            raise ArgumentTypeError(
                "This is no config.", where=f"{cls.__name__}.from_config", expected="a dict", received=f"{config!r:.80}"
            )
        config = revive(config)
        policy = config.get("dtype")
        if type(policy) is policies.DTypePolicy:
            config["dtype"] = policy.name  # what programs' own classes expect in a constructor
        later = {
            key: config.pop(key) for key in ("name", "trainable", "dtype") if key in config and not accepts(cls, key)
        }
        try:
            layer = cls(**config)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(
                f"The config does not fit: {error}",
                where=f"{cls.__name__}.from_config",
                expected="the config that get_config() of this class gives",
            ) from error
        for key, value in later.items():
            if value is not True:  # layers are trainable, but for those inside that are not
                setattr(layer, "dtype_policy" if key == "dtype" else key, value)
        return layer


@functools.cache
def _constructor_names(cls: type) -> frozenset[str]:
    from_classes = [c.__init__ for c in cls.__mro__ if "__init__" in c.__dict__ and issubclass(c, Configured)]
    return frozenset(name for init in from_classes for name in init.__code__.co_varnames[: _argument_count(init)])


def _argument_count(function: Any) -> int:
    code = getattr(function, "__code__", None)
    return code.co_argcount + code.co_kwonlyargcount if code is not None else 0
