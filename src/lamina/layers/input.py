"""Where a model begins: `Input()` gives a symbolic tensor, made by an InputLayer."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.graph.node import connect
from lamina.graph.tensor import KerasTensor, standardize_shape
from lamina.layers.base import Layer


@builtin("keras.layers")
class InputLayer(Layer):
    """The layer that stands for data from outside.

    Args:
        shape: the shape of one sample, without the batch axis.
        batch_size: the size of the batch axis, if fixed.
        dtype: the dtype.
        sparse: not supported.
        ragged: not supported.
        batch_shape: the whole shape, in place of `shape` and `batch_size`.
        input_tensor: an existing symbolic tensor to stand for.
        optional: the input may be None.
        name: its name.

    Raises:
        ArgumentError: no shape is given, or two that contradict.

    Example:
        >>> InputLayer(shape=(3,)).output.shape
        (None, 3)

    Source: https://keras.io/api/layers/core_layers/input/
    """

    def __init__(
        self,
        shape: Iterable[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Iterable[int | None] | None = None,
        input_tensor: KerasTensor | None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if "input_shape" in kwargs and shape is None:
            shape = kwargs.pop("input_shape")
        if "batch_input_shape" in kwargs and batch_shape is None:
            batch_shape = kwargs.pop("batch_input_shape")
        super().__init__(name=name, **kwargs)
        if sparse or ragged:
            raise ArgumentError(
                "Sparse and ragged inputs are not supported.",
                where="Input()",
                received=f"sparse={sparse}, ragged={ragged}",
                fix="use dense tensors and a mask",
            )
        if shape is not None and batch_shape is not None:
            raise ArgumentError(
                "`shape` and `batch_shape` exclude each other.",
                where="Input()",
                received="both",
                fix=f"Input(batch_shape={batch_shape!r})",
            )
        if batch_size is not None and batch_shape is not None:
            raise ArgumentError(
                "`batch_size` and `batch_shape` exclude each other.",
                where="Input()",
                received="both",
                fix=f"Input(batch_shape={batch_shape!r})",
            )
        if input_tensor is not None:
            _check_tensor(input_tensor, shape, batch_size, batch_shape, dtype)
            batch_shape = input_tensor.shape
        if batch_shape is None:
            if shape is None:
                raise ArgumentError("An input needs a shape.", where="Input()", fix="Input(shape=(features,))")
            if isinstance(shape, Integral):
                raise ArgumentError(
                    "A shape is a tuple.", where="Input(shape=...)", received=shape, fix=f"shape=({shape},)"
                )
            batch_shape = (batch_size, *shape)
        self.batch_shape = standardize_shape(batch_shape)
        self.sparse, self.ragged, self.optional = False, False, bool(optional)
        given = dtype if dtype is not None else getattr(input_tensor, "dtype", None)
        self.__dict__["_input_dtype_name"] = standardize_dtype(given)
        self.built = True
        tensor = input_tensor if input_tensor is not None else KerasTensor(self.batch_shape, self.dtype, name=self.name)
        connect(self, (), {}, tensor)

    @property
    def dtype(self) -> str:
        """The dtype of the data."""
        return self._input_dtype_name

    def call(self) -> Any:
        """Nothing: the data is put in from outside."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The batch shape, dtype and name."""
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": self.optional,
        }

    def get_build_config(self) -> None:
        """Nothing to build."""
        return None


def _check_tensor(tensor: Any, shape: Any, batch_size: int | None, batch_shape: Any, dtype: Any) -> None:
    """Refuse what is no symbolic tensor, and arguments that contradict it."""
    if not isinstance(tensor, KerasTensor):
        raise ArgumentError(
            "An input stands for a symbolic tensor.",
            where="input_tensor",
            expected="KerasTensor",
            received=type(tensor).__name__,
        )
    told = {
        "shape": (None if shape is None else tuple(shape), tensor.shape[1:]),
        "batch_size": (batch_size, tensor.shape[0] if tensor.shape else None),
        "batch_shape": (None if batch_shape is None else tuple(batch_shape), tensor.shape),
        "dtype": (None if dtype is None else standardize_dtype(dtype), tensor.dtype),
    }
    for name, (value, known) in told.items():
        if value is not None and value != known:
            raise ArgumentError(
                f"`{name}` contradicts the tensor.", where="Input()", expected=known, received=value, fix="leave it out"
            )


def Input(
    shape: Iterable[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Iterable[int | None] | None = None,
    name: str | None = None,
    tensor: KerasTensor | None = None,
    optional: bool = False,
    **kwargs: Any,
) -> KerasTensor:
    """A symbolic tensor to begin a model with.

    Args:
        shape: the shape of one sample, without the batch axis; None for sizes not known.
        batch_size: the size of the batch axis, if fixed.
        dtype: the dtype; floatx by default.
        sparse: not supported.
        ragged: not supported.
        batch_shape: the whole shape, in place of `shape` and `batch_size`.
        name: the input's name.
        tensor: an existing symbolic tensor to stand for.
        optional: the input may be None.

    Raises:
        ArgumentError: no shape is given, or two that contradict.

    Example:
        >>> Input(shape=(28, 28, 1)).shape
        (None, 28, 28, 1)

    Source: https://keras.io/api/layers/core_layers/input/
    """
    layer = InputLayer(
        shape=shape,
        batch_size=batch_size,
        dtype=dtype,
        sparse=sparse,
        ragged=ragged,
        batch_shape=batch_shape,
        input_tensor=tensor,
        optional=optional,
        name=name,
        **kwargs,
    )
    return layer.output
