"""The state of an optimizer: learning rate, step count and slots, and their way in and out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch

from lamina import initializers
from lamina.core.capture import Captured
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, StateError, warn_once
from lamina.core.scopes import name_scope
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.core.variable import Variable
from lamina.optimizers.blocks import Slots
from lamina.optimizers.options import number
from lamina.optimizers.schedules import LearningRateSchedule

Tensor = torch.Tensor


class OptimizerState(Captured):
    """What an optimizer knows and keeps. `Optimizer` adds what it does with it."""

    name: str
    use_ema: bool
    gradient_accumulation_steps: int | None

    def __init__(self) -> None:
        self.built = False
        self._variables: list[Any] = []
        self._parameters: list[Any] = []
        self._index: dict[int, int] = {}
        self._slots: dict[str, list[Any]] = {}
        self._slot_names: tuple[str, ...] = ()
        self._constraints: list[tuple[Any, Callable[[Any], Any]]] = []
        self._explicit = self._overwrites = False
        self._iterations = self._host_variable(0, "int64", "iteration")
        self._learning_rate: Any = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies know their copied weights."""
        self.__dict__.update(state)
        self._index = {id(variable): index for index, variable in enumerate(self._parameters)}

    def _host_variable(self, value: Any, dtype: str, name: str) -> Variable:
        """A number that stays on the CPU, where reading it waits for nothing."""
        with name_scope(self.name):
            variable = Variable(value, dtype=dtype, trainable=False, aggregation="only_first_replica", name=name)
        variable.data = variable.data.cpu()
        self._variables.append(variable)
        return variable

    @property
    def variables(self) -> list[Any]:
        """Step count, learning rate (unless a schedule) and slots, in the order they are saved in."""
        return list(self._variables)

    @property
    def iterations(self) -> Any:
        """How many updates were made."""
        if self.gradient_accumulation_steps:
            return self._iterations // self.gradient_accumulation_steps
        return self._iterations

    @property
    def learning_rate(self) -> Any:
        """The learning rate now: a variable that can be assigned, or what a schedule gives for this step."""
        if isinstance(self._learning_rate, LearningRateSchedule):
            return self._learning_rate(self._iterations)
        if isinstance(self._learning_rate, Tensor):
            return self._learning_rate
        return self._learning_rate()

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        kept = self._learning_rate
        if callable(learning_rate):
            self._learning_rate = learning_rate
            self._variables = [variable for variable in self._variables if variable is not kept]
        elif isinstance(kept, LearningRateSchedule):
            raise ArgumentTypeError(
                "The learning rate follows a schedule and cannot be set.",
                where=f"optimizer '{self.name}'",
                received=learning_rate,
                fix="assign another LearningRateSchedule, or make the optimizer with a number",
            )
        elif callable(kept):
            self._learning_rate = lambda: learning_rate
        else:
            kept.assign(convert_to_tensor(number(learning_rate), kept.dtype))

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Names of the slots; those in one group are made (and saved) weight by weight together."""
        return ()

    def initial_slot(self, name: str, parameter: Tensor) -> Tensor:
        """The first value of a slot; zeros."""
        return torch.zeros_like(parameter)

    def build(self, variables: Sequence[Tensor]) -> None:
        """Make the slots for the weights that this optimizer will update."""
        if self.built:
            return
        self._parameters = list(variables)
        self._index = {id(variable): index for index, variable in enumerate(self._parameters)}
        self._constraints = [
            (variable, variable.constraint)
            for variable in self._parameters
            if getattr(variable, "constraint", None) is not None
        ]
        self._overwrites = any(getattr(variable, "overwrite_with_gradient", False) for variable in self._parameters)
        with torch.no_grad():
            if self.use_ema:
                self._add_slots(("average",))
            if self.gradient_accumulation_steps:
                self._add_slots(("gradient_accumulator",))
            for group in self.slot_groups():
                self._add_slots(group)
        self._slot_names = tuple(name for group in self.slot_groups() for name in group)
        self.built = True

    def _add_slots(self, names: Sequence[str]) -> None:
        for name in names:
            self._slots[name] = []
        for parameter in self._parameters:
            for name in names:
                special = name in ("average", "gradient_accumulator")
                first = torch.zeros_like(parameter) if special else self.initial_slot(name, parameter)
                self._slots[name].append(self._slot_variable(first.detach(), parameter, name))

    def _slot_variable(self, value: Tensor, parameter: Tensor, name: str) -> Tensor:
        """A slot around a tensor: a variable, or for other kinds of tensor (DTensor) that tensor itself."""
        if type(value) is Tensor:
            path = getattr(parameter, "path", None) or getattr(parameter, "name", None) or "variable"
            with name_scope(self.name):
                variable = Variable(torch.zeros(()), trainable=False, name=f"{path.replace('/', '_')}_{name}")
            variable.data = value
            value = variable
        self._variables.append(value)
        return value

    def slots(self, parameters: Sequence[Tensor], *names: str) -> Slots:
        """The slots of some weights, as lists in their order."""
        if parameters is self._parameters:
            return {name: self._slots[name] for name in names}
        places = [self._index[id(parameter)] for parameter in parameters]
        return {name: [self._slots[name][place] for place in places] for name in names}

    def add_variable(
        self,
        shape: Sequence[int],
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str = "none",
        layout: Any = None,
        name: str | None = None,
    ) -> Variable:
        """A piece of state, for optimizers of your own.

        Args:
            shape: its shape.
            initializer: a name or an initializer.
            dtype: its dtype; floatx by default.
            aggregation: kept for Keras.
            layout: kept for Keras.
            name: its name.
        """
        with name_scope(self.name):
            variable = Variable(
                initializers.get(initializer),
                shape=tuple(shape),
                dtype=dtype,
                trainable=False,
                aggregation=aggregation,
                name=name,
            )
        self._variables.append(variable)
        return variable

    def add_variable_from_reference(
        self, reference_variable: Any, name: str | None = None, initializer: Any = "zeros"
    ) -> Any:
        """A piece of state of the shape, dtype, device and memory layout of a weight."""
        value = torch.zeros_like(reference_variable).detach()
        if initializer != "zeros":
            first = initializers.get(initializer)(tuple(value.shape), dtype=value.dtype)
            value.copy_(first)
        return self._slot_variable(value, reference_variable, name or "var")

    def add_optimizer_variables(
        self, trainable_variables: Sequence[Any], name: str | Sequence[str], initializer: Any = "zeros"
    ) -> Any:
        """A piece of state for each weight, or with several names several; a list, or a tuple of lists."""
        names = [name] if isinstance(name, str) else list(name)
        given = list(initializer) if isinstance(initializer, (list, tuple)) else [initializer] * len(names)
        if len(given) != len(names):
            raise ArgumentError(
                "There are not as many initializers as names.",
                where="add_optimizer_variables(initializer=...)",
                expected=len(names),
                received=len(given),
            )
        made: tuple[list[Any], ...] = tuple([] for _ in names)
        for variable in trainable_variables:
            for column, each, first in zip(made, names, given, strict=True):
                column.append(self.add_variable_from_reference(variable, each, first))
        return made[0] if isinstance(name, str) else made

    def _get_variable_index(self, variable: Any) -> int:
        return self._index[id(variable)]

    def assign(self, variable: Any, value: Any) -> None:
        """Overwrite a variable."""
        variable.copy_(convert_to_tensor(value, device=variable.device))

    def assign_add(self, variable: Any, value: Any) -> None:
        """Add to a variable."""
        variable.add_(value)

    def assign_sub(self, variable: Any, value: Any) -> None:
        """Subtract from a variable."""
        variable.sub_(value)

    @contextlib.contextmanager
    def explicit(self, variables: Sequence[Any] | None = None, trainable_variables: Any = None) -> Iterator[None]:
        """Within it, a step is a fixed sequence of torch calls, which can be traced or captured.

        Step count and learning rate are used as tensors, never read, and nothing branches on them. Other tensors can
        stand in for the optimizer's variables and the weights; they are changed in place.

        Args:
            variables: what stands for `optimizer.variables`, one to one; these themselves by default.
            trainable_variables: what stands for the weights, in the order of `build`; these themselves by default.

        Example:
            >>> from lamina.optimizers import SGD
            >>> weight, optimizer = Variable([1.0]), SGD(0.5)
            >>> optimizer.build([weight])
            >>> with optimizer.explicit():
            ...     optimizer.apply([torch.tensor([1.0])], [weight])
            >>> weight.numpy()
            array([0.5], dtype=float32)
        """
        variables = self._variables if variables is None else self._one_to_one(variables, self._variables)
        weights = self._parameters
        if trainable_variables is not None:
            weights = self._one_to_one(trainable_variables, self._parameters)
        replaced = {id(old): new for old, new in zip(self._variables, variables, strict=True)}
        replaced |= {id(old): new for old, new in zip(self._parameters, weights, strict=True)}
        kept = dict(self.__dict__)

        def new(value: Any) -> Any:
            if isinstance(value, list):
                return [new(part) for part in value]
            return replaced.get(id(value), value)

        try:
            for key, value in kept.items():
                if isinstance(value, (Tensor, list)) and key != "_arguments":
                    self.__dict__[key] = new(value)
            self._slots = {name: new(slots) for name, slots in self._slots.items()}
            self._constraints = [(new(variable), constraint) for variable, constraint in self._constraints]
            self._index = {id(weight): index for index, weight in enumerate(weights)}
            self._explicit = True
            yield
        finally:
            self.__dict__.clear()
            self.__dict__.update(kept)

    def _one_to_one(self, given: Any, own: Sequence[Any]) -> list[Any]:
        if not self.built:
            raise StateError(
                "The optimizer is not built.",
                where=f"optimizer '{self.name}'",
                fix="call optimizer.build(trainable_variables) first",
            )
        if len(given) != len(own):
            raise ShapeError(
                "The tensors do not match the variables one to one.",
                where=f"optimizer '{self.name}'",
                expected=len(own),
                received=len(given),
            )
        return list(given)

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One step as a function: the weights and the optimizer's variables after it, given those before.

        Args:
            optimizer_variables: what stands for `optimizer.variables`.
            grads: the gradients.
            trainable_variables: the weights, in the order of `build`.

        Example:
            >>> from lamina.optimizers import SGD
            >>> weight, optimizer = Variable([1.0]), SGD(0.5)
            >>> optimizer.build([weight])
            >>> optimizer.stateless_apply(optimizer.variables, [torch.tensor([1.0])], [weight])[0]
            [tensor([0.5000])]
        """
        with torch.no_grad():
            variables = [torch.as_tensor(value).detach().clone() for value in optimizer_variables]
            weights = [convert_to_tensor(value).detach().clone() for value in trainable_variables]
            with self.explicit(variables, weights):
                self.apply(grads, weights)
        return weights, variables

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """One step."""
        raise NotImplementedError

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite the variables, in order."""
        for variable, value in zip(self._one_to_one(self._variables, self.variables), weights, strict=False):
            variable.assign(value)

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Put the variables into a store, under "0", "1", ..."""
        for index, variable in enumerate(self.variables):
            store[str(index)] = convert_to_numpy(variable)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Take the variables from a store; one of another size is left alone, with a warning."""
        variables = self.variables
        if len(store.keys()) != len(variables):
            hint = "" if self.built else " It is not built yet."
            warn_once(
                f"The optimizer '{self.name}' keeps its state: the file has {len(store.keys())} variables for it, "
                f"and it has {len(variables)}.{hint}"
            )
            return
        with torch.no_grad():
            for index, variable in enumerate(variables):
                variable.copy_(convert_to_tensor(store[str(index)]))
