"""What a layer owns: weights, state, sublayers, and the containers they stand in."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from lamina import constraints, initializers, regularizers
from lamina.core import limits, policies, scopes
from lamina.core.capture import is_ours
from lamina.core.dtypes import is_float, standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, StateError
from lamina.core.naming import auto_name
from lamina.core.outlines import with_data
from lamina.core.seeds import SeedGenerator
from lamina.core.tensors import convert_to_tensor, default_device
from lamina.core.variable import Variable
from lamina.layers.tracking import Holder, TrackedDict, TrackedList, follow_mode, items_of, trackable


class WeightSpec:
    """What stays true of a weight when its tensor is replaced, as sharding does."""

    __slots__ = ("autocast", "constraint", "initializer", "name", "path", "regularizer")

    def __init__(
        self, name: str, path: str, initializer: Any, regularizer: Any, constraint: Any, autocast: bool = True
    ) -> None:
        self.name, self.path, self.autocast = name, path, autocast
        self.initializer, self.regularizer, self.constraint = initializer, regularizer, constraint


class WeightOwner(nn.Module):
    """The part of a layer that makes, finds, copies and moves weights.

    Weights are parameters and state is buffers, under the name of the attribute that holds them. What must outlive a
    tensor that torch replaces is kept beside, in `_weight_specs`, under the same name.
    """

    name: str
    built: bool
    _building: bool
    dtype_policy: policies.DTypePolicy
    _trainable: bool
    _tracked: set[str]
    _weight_specs: dict[str, WeightSpec]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Attributes may be weights, sublayers or anything else."""

    def _where(self) -> str:
        return f"layer '{self.name}' ({type(self).__name__})"

    def _refresh(self) -> None:
        """Recompute what follows from the dtype policy."""

    def _has_build(self) -> bool:
        """Whether the class makes weights in a `build` of its own."""
        return False

    def _awaits_build(self) -> bool:
        """Whether weights are still to be made."""
        return not self.built and self._has_build()

    @property
    def variable_dtype(self) -> str:
        """The dtype of the weights."""
        return self.dtype_policy.variable_dtype

    def add_weight(
        self,
        *args: Any,
        shape: Sequence[int] | int | None = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str = "none",
        overwrite_with_gradient: bool = False,
        name: str | None = None,
        layout: tuple[int, ...] | None = None,
    ) -> Variable:
        """Make a weight, or with trainable=False a piece of state.

        Args:
            *args: shape, initializer and dtype may be given by position.
            shape: its shape; () for a scalar.
            initializer: how it begins: a name, an initializer, or a function of (shape, dtype).
            dtype: its dtype; the layer's variable dtype by default.
            trainable: whether it learns.
            autocast: whether the layer's `call` sees it in the compute dtype under a mixed policy.
            regularizer: a penalty on it.
            constraint: a function that projects it back after each update.
            aggregation: kept for Keras.
            overwrite_with_gradient: the optimizer replaces the value by the gradient.
            name: its name.
            layout: axes that permute it to the weight torch wants, which will be channels-last in memory.

        Returns:
            The variable; keep it as an attribute.

        Raises:
            ArgumentError: a name is given in the place of the shape.
            ShapeError: a size is not known.
            StateError: this is asked for in `call`, which would make a new weight each time.
        """
        if args:
            shape, initializer, dtype = self._weight_arguments(args, shape, initializer, dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape or ())
        if not all(size is None or (hasattr(size, "__index__") and size >= 0) for size in shape):
            what, place = "A weight's shape holds something other than sizes.", f"{self._where()}, weight '{name}'"
            raise ShapeError(what, where=place, expected="integers of 0 or more", received=shape)
        if any(size is None for size in shape):
            raise ShapeError(
                "A weight's shape must be known in full.",
                where=f"{self._where()}, weight '{name}'",
                received=shape,
                fix="give the input a known size on the axis the weight depends on",
            )
        standardized = standardize_dtype(dtype or self.variable_dtype)
        if initializer is None:
            initializer = "glorot_uniform" if is_float(standardized) else "zeros"
        initializer = initializers.get(initializer)
        self._check_open(name)
        name = name or auto_name("variable")
        path = f"{self.path}/{name}" if self.built and not scopes.current_path() else None
        limits.claim(math.prod(shape) * torch_dtype(standardized).itemsize, f"{self._where()}, weight '{name}'")

        def initial() -> Any:
            return convert_to_tensor(initializer(shape, dtype=standardized), standardized, default_device())

        with torch.no_grad(), with_data(), scopes.name_scope(self.name, caller=self):
            blank = limits.blank(shape, torch_dtype(standardized), default_device()) if is_ours(type(self)) else None
            value = initial() if blank is None else blank
            if layout is not None:
                value = _channels_last(value, layout)
            variable = Variable._wrap(value, trainable=trainable, name=name, path=path)
            if blank is not None:
                limits.await_values(variable, initial)
        variable.regularizer, variable.constraint = regularizers.get(regularizer), constraints.get(constraint)
        variable.aggregation, variable.autocast = aggregation, autocast
        variable.overwrite_with_gradient = overwrite_with_gradient
        key = _free_key(self, variable.name)
        (self._parameters if variable.trainable else self._buffers)[key] = variable
        self._weight_specs[key] = WeightSpec(
            variable.name, variable.path, initializer, variable.regularizer, variable.constraint, autocast
        )
        if not self._trainable:
            variable.requires_grad_(False)
        return variable

    def _weight_arguments(self, args: tuple[Any, ...], *named: Any) -> list[Any]:
        """Shape, initializer and dtype of a weight, given by position or by name."""
        if isinstance(args[0], str):
            raise ArgumentError(
                "The first argument of add_weight is the shape.",
                where=self._where(),
                received=repr(args[0]),
                fix=f"add_weight(shape=..., name={args[0]!r})",
            )
        if len(args) > 3:
            raise ArgumentTypeError(
                "add_weight was given too many arguments by position.",
                where=self._where(),
                expected="shape, initializer and dtype by position, the rest by name",
                received=f"{len(args)} positional arguments",
            )
        for name, value in zip(("shape", "initializer", "dtype"), named[: len(args)], strict=False):
            if value is not None:
                raise ArgumentError(
                    f"`{name}` is given twice.",
                    where=f"{self._where()}, add_weight",
                    received=f"{value!r:.60}, and once more by position",
                    fix=f"leave out {name}=...",
                )
        return [*args, *named[len(args) :]]

    def _check_open(self, name: str | None) -> None:
        """Refuse new weights while the layer, built already, is being called."""
        if self.built and not self._building and scopes.within(self):
            raise StateError(
                "Weights cannot be made in `call`: each call would make new ones.",
                where=f"{self._where()}, weight '{name}'",
                fix="make them in __init__ or build(input_shape)",
            )

    @property
    def path(self) -> str:
        """The layer's path: its name within the open scopes when its weights were made."""
        for weight in self._own_weights():
            if isinstance(weight, Variable):
                return weight.path.rpartition("/")[0]
        return self.name

    def _flatten_layers(self, include_self: bool = True) -> list[Any]:
        layers = [module for module in self.modules() if isinstance(module, WeightOwner)]
        return layers if include_self else layers[1:]

    def _walk_weights(self) -> Iterator[tuple[torch.Tensor, bool]]:
        """Each weight once, with whether it is a parameter: a layer's own before those of its sublayers."""
        seen: set[int] = set()
        for module in self.modules():
            for table, is_parameter in ((module._parameters, True), (module._buffers, False)):
                for weight in table.values():
                    if weight is not None and id(weight) not in seen:
                        seen.add(id(weight))
                        yield weight, is_parameter

    @property
    def weights(self) -> list[Any]:
        """All weights and state, each once."""
        return [weight for weight, _ in self._walk_weights()]

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that learn; none where the layer does not."""
        if not self._trainable:
            return []
        return [weight for weight, is_parameter in self._walk_weights() if is_parameter and weight.requires_grad]

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The weights that do not learn, and state."""
        if not self._trainable:
            return self.weights
        return [weight for weight, is_parameter in self._walk_weights() if not (is_parameter and weight.requires_grad)]

    @property
    def variables(self) -> list[Any]:
        """All weights and state, those of random generators included."""
        return self.weights + self._seed_states()

    @property
    def trainable_variables(self) -> list[Any]:
        """The variables that learn."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Any]:
        """The variables that do not learn."""
        return self.non_trainable_weights + self._seed_states()

    @property
    def metrics(self) -> list[Any]:
        """The metrics that are attributes of the layer and of its sublayers, alone or in lists."""
        values = [value for layer in self._flatten_layers() for value in vars(layer).values()]
        parts = [part for value in values for part in (value if isinstance(value, (list, tuple)) else (value,))]
        return list({id(part): part for part in parts if hasattr(type(part), "update_state")}.values())

    @property
    def metrics_variables(self) -> list[Any]:
        """Their state."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def _seed_states(self) -> list[Variable]:
        return [generator.state for generator in seed_generators(self)]

    @property
    def trainable(self) -> bool:
        """Whether the layer learns; setting it reaches all sublayers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = bool(value)
        for module in self.modules():
            if isinstance(module, WeightOwner):
                module.__dict__["_trainable"] = value
            for weight in module._parameters.values():
                if weight is not None and weight.is_floating_point():
                    weight.requires_grad_(value)

    def get_weights(self) -> list[np.ndarray]:
        """The values of all weights as NumPy arrays."""
        return [_array(weight) for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all weights from arrays in the order of `get_weights`.

        Raises:
            ArgumentError: the number of arrays is wrong.
            ShapeError: an array has the wrong shape; nothing is changed.
        """
        variables = self.weights
        if len(variables) != len(weights):
            raise ArgumentError(
                "The number of arrays differs from the number of weights.",
                where=self._where(),
                expected=f"{len(variables)} arrays",
                received=len(weights),
                fix=None if variables else "build the layer first, by calling it or with build(input_shape)",
            )
        values = [
            convert_to_tensor(value, device=variable.device) for variable, value in zip(variables, weights, strict=True)
        ]
        for variable, value in zip(variables, values, strict=True):
            if variable.shape != value.shape:
                raise ShapeError(
                    "An array does not fit its weight.",
                    where=f"{self._where()}, weight '{getattr(variable, 'path', '?')}'",
                    expected=tuple(variable.shape),
                    received=tuple(value.shape),
                )
        with torch.no_grad():
            for variable, value in zip(variables, values, strict=True):
                variable.copy_(value)

    def count_params(self) -> int:
        """The number of weights, counted as scalars.

        Raises:
            StateError: the layer is not built yet.
        """
        weights = self.weights
        if not weights and any(module._awaits_build() for module in self.modules() if isinstance(module, WeightOwner)):
            raise StateError(
                "The weights cannot be counted before they exist.",
                where=self._where(),
                fix="build the layer first, by calling it on data or with build(input_shape)",
            )
        return sum(weight.numel() for weight in weights)

    def save_own_variables(self, store: Any) -> None:
        """Write the layer's own weights (not those of sublayers) into a mapping, under "0", "1", ..."""
        for index, weight in enumerate(self._own_weights()):
            store[str(index)] = _array(weight)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read the layer's own weights from a mapping.

        Raises:
            StateError: the layer has no weights yet.
            ArgumentError: the number of entries differs.
        """
        own = self._own_weights()
        if len(store.keys()) != len(own):
            if not own and not self.built:
                raise StateError(
                    "Weights cannot be loaded before the layer is built.",
                    where=self._where(),
                    fix="call the model on data, or build(input_shape), before loading",
                )
            raise ArgumentError(
                "The file has another number of weights.",
                where=self._where(),
                expected=f"{len(own)} weights",
                received=f"{len(store.keys())}: {', '.join(store.keys())}",
            )
        for index, weight in enumerate(own):
            value = np.asarray(store[str(index)])
            if tuple(value.shape) != tuple(weight.shape):
                raise ShapeError(
                    "A weight in the file has the wrong shape.",
                    where=f"{self._where()}, weight '{getattr(weight, 'path', index)}'",
                    expected=tuple(weight.shape),
                    received=tuple(value.shape),
                )
            with torch.no_grad():
                weight.copy_(convert_to_tensor(value, device=weight.device))

    def _own_weights(self) -> list[Any]:
        """The weights held by attributes and by containers among these, parameters before state."""
        owners: list[nn.Module] = [self]
        for owner in owners:
            owners += [child for child in owner._modules.values() if isinstance(child, Holder)]
        tables = [owner._parameters for owner in owners] + [owner._buffers for owner in owners]
        return [weight for table in tables for weight in table.values() if weight is not None]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """`.to()`, `.half()`, ...: obeyed, with variables staying variables and the policy following the dtype."""
        before = {**self._parameters, **self._buffers}
        super()._apply(fn, recurse)
        for table in (self._parameters, self._buffers):
            for key, value in table.items():
                old = before.get(key)
                if isinstance(old, Variable) and value is not None and not isinstance(value, Variable):
                    table[key] = old._like(value)  # type: ignore[assignment]
        floats = {w.dtype for w in self._parameters.values() if w is not None and w.is_floating_point()}
        if len(floats) == 1 and (found := floats.pop()) is not torch_dtype(self.variable_dtype):
            self.__dict__["dtype_policy"] = policies.DTypePolicy(standardize_dtype(found))
            self._refresh()
        return self

    def _device(self) -> torch.device:
        for weight in self._parameters.values():
            if weight is not None:
                return weight.device
        first = next(self.parameters(), None)
        return first.device if first is not None else default_device()

    def __setattr__(self, name: str, value: Any) -> None:
        if "_tracked" not in self.__dict__:
            # What is set before `super().__init__()` is taken in by it.
            return object.__setattr__(self, name, value)
        if isinstance(value, Variable):
            return self._set_variable(name, value)
        if isinstance(value, (list, dict, tuple)) and (
            trackable(value) or (not value and not isinstance(value, tuple))
        ):
            return self._track(name, value)
        if isinstance(value, nn.Module):
            self._make_way(name, value)
            follow_mode(self, value)
            self.__dict__["_fast"] = None
        if name == "dtype_policy":
            policy, given = policies.get(value), self.dtype_policy
            if isinstance(given, policies.DTypePolicyMap) and self._own_weights():
                if self.path in given:
                    del given[self.path]
                given[self.path] = policy
            else:
                self.__dict__[name] = policy
            return self._refresh()
        super().__setattr__(name, value)  # pyright: ignore[reportArgumentType]

    def _adopt(self, name: str, value: Any) -> None:
        """Set an attribute that was there before `__init__` once more, for what it holds to be found."""
        if isinstance(value, (nn.Module, nn.Parameter, Variable, list, dict, tuple)):
            self.__dict__.pop(name, None)
            setattr(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._tracked:
            self._tracked.discard(name)
            self._modules.pop(name, None)
        super().__delattr__(name)

    def _make_way(self, name: str, value: nn.Module) -> None:
        """Called before a module becomes an attribute."""

    def _set_variable(self, name: str, value: Variable) -> None:
        """Keep a variable under an attribute: parameters among the parameters, state among the buffers."""
        spec = None
        is_parameter = value.trainable
        for table in (self._parameters, self._buffers):
            for key in [key for key, held in table.items() if held is value]:
                is_parameter = table is self._parameters
                spec = self._weight_specs.get(key)
                if key != name:
                    del table[key]
                    self._weight_specs.pop(key, None)
        self.__dict__.pop(name, None)
        (self._buffers if is_parameter else self._parameters).pop(name, None)
        (self._parameters if is_parameter else self._buffers)[name] = value
        self._weight_specs[name] = spec or WeightSpec(
            value.name, value.path, None, value.regularizer, value.constraint, value.autocast
        )

    def _track(self, name: str, value: Any) -> None:
        """Keep a container of layers or variables."""
        self._tracked.add(name)
        if isinstance(value, tuple):
            self.__dict__[name] = value
            self._hold(name, value)
            return
        kind = TrackedDict if isinstance(value, dict) else TrackedList
        self.__dict__[name] = kind(value, functools.partial(self._hold, name))

    def _hold(self, name: str, container: Any) -> None:
        holder = self._modules.get(name)
        if not isinstance(holder, Holder):
            if not trackable(container):
                return
            holder = self._modules[name] = Holder()
        held = items_of(container)
        loose = {id(value) for _, value in held if isinstance(value, Variable)}
        for table in (self._parameters, self._buffers):
            for key in [key for key, variable in table.items() if id(variable) in loose]:
                del table[key]
        holder.fill(held)
        follow_mode(self, holder)
        self.__dict__["_fast"] = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_inbound_nodes": [], "_call_losses": [], "_losses_of": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in list(self._tracked):
            self._track(name, self.__dict__[name])


def seed_generators(layer: nn.Module) -> list[SeedGenerator]:
    """The generators that are attributes of a layer or its sublayers, alone or in lists."""
    found = [
        part
        for module in layer.modules()
        for value in vars(module).values()
        for part in (value if isinstance(value, (list, tuple)) else (value,))
        if isinstance(part, SeedGenerator)
    ]
    return list(dict.fromkeys(found))


def _array(weight: torch.Tensor) -> np.ndarray:
    weight = weight.detach().cpu()
    if weight.dtype is torch.bfloat16:
        weight = weight.float()
    return np.array(torch.Tensor.numpy(weight), order="C")


def _free_key(layer: WeightOwner, name: str) -> str:
    """A key for a new weight: its name, or with a number when that is taken."""
    name = name.replace(".", "_")
    taken = {**layer._parameters, **layer._buffers}
    key, count = name, 1
    while key in taken:
        key, count = f"{name}_{count}", count + 1
    return key


def _channels_last(value: torch.Tensor, layout: tuple[int, ...]) -> torch.Tensor:
    """The value stored so that `value.permute(layout)` is channels-last in memory."""
    weight = value.permute(layout)
    order = (0, *range(2, weight.ndim), 1)
    stored = weight.permute(order).contiguous()
    inverse = sorted(range(len(order)), key=order.__getitem__)
    weight = stored.permute(inverse)
    back = sorted(range(len(layout)), key=layout.__getitem__)
    return weight.permute(back)
