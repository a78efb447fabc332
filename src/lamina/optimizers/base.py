"""What every optimizer is made of: learning rate, step count, slots, clipping, decay, averaging, accumulation."""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Self, TypedDict

import torch

from lamina import initializers
from lamina.core import config as settings
from lamina.core.capture import Captured, revive
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, StateError, say_once, warn_once
from lamina.core.naming import auto_name
from lamina.core.registry import builtin, maybe_scope
from lamina.core.scopes import name_scope
from lamina.core.serialization import serialize_keras_object
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.core.variable import Variable
from lamina.optimizers.blocks import BLOCK, Slots, blocks, clip_by_global_norm, clip_by_norm, clip_by_value
from lamina.optimizers.schedules import LearningRateSchedule

Tensor = torch.Tensor
Number = float | Tensor


@builtin("keras.optimizers")
class Optimizer(Captured):
    """Base of all optimizers.

    A subclass names its slots (`slot_groups`) and writes `rule`, which changes lists of weights in place; or it writes
    `update_step(gradient, variable, learning_rate)`, which changes one.

    Args:
        learning_rate: a number, a `LearningRateSchedule`, or a function without arguments that gives a number.
        weight_decay: if given, weights shrink by this share times the learning rate at each step.
        clipnorm: if given, each gradient is scaled so that its norm is at most this.
        clipvalue: if given, each element of a gradient is at most this in size.
        global_clipnorm: if given, all gradients are scaled so that their common norm is at most this.
        use_ema: whether to keep an exponential moving average of the weights.
        ema_momentum: how much of the average stays at each step.
        ema_overwrite_frequency: every so many steps the weights are set to their average; None for at the end only.
        loss_scale_factor: if given, the loss is multiplied by it and the gradients divided.
        gradient_accumulation_steps: if given, the weights are updated every so many steps, with the mean of the
            gradients since.
        name: its name; the class name in snake case by default.

    Raises:
        ArgumentError: an argument out of range, unknown, or at odds with another.

    Example:
        >>> class Signs(Optimizer):
        ...     def update_step(self, gradient, variable, learning_rate):
        ...         self.assign_sub(variable, learning_rate * gradient.sign())
        >>> weight = Variable([1.0, 2.0])
        >>> Signs(learning_rate=0.5).apply([torch.tensor([3.0, -4.0])], [weight])
        >>> weight.numpy()
        array([0.5, 2.5], dtype=float32)

    Source: https://keras.io/api/optimizers/
    """

    elementwise = True
    """Whether the rule treats every element for itself, so that tensors may be cut into pieces."""

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        learning_rate = _legacy(learning_rate, kwargs)
        self.name = name or auto_name(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        _check_options(self)
        self.built = False
        self._variables: list[Any] = []
        self._parameters: list[Any] = []
        self._index: dict[int, int] = {}
        self._slots: dict[str, list[Any]] = {}
        self._constraints: list[tuple[Any, Callable[[Any], Any]]] = []
        self._explicit = False
        self._excluded: tuple[set[int], re.Pattern[str] | None] = (set(), None)
        self._own_step = type(self).update_step is not Optimizer.update_step
        self._iterations = self._host_variable(0, "int64", "iteration")
        self._learning_rate: Any = learning_rate
        if not callable(learning_rate):
            self._learning_rate = self._host_variable(
                _number(learning_rate), settings.floatx(), "learning_rate"
            )

    # -- state ---------------------------------------------------------------------------------------------------

    def _host_variable(self, value: Any, dtype: str, name: str) -> Variable:
        """A number that stays on the CPU, where reading it waits for nothing."""
        with name_scope(self.name):
            variable = Variable(
                value, dtype=dtype, trainable=False, aggregation="only_first_replica", name=name
            )
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
            kept.assign(convert_to_tensor(_number(learning_rate), kept.dtype))

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
        with torch.no_grad():
            if self.use_ema:
                self._add_slots(("average",))
            if self.gradient_accumulation_steps:
                self._add_slots(("gradient_accumulator",))
            for group in self.slot_groups():
                self._add_slots(group)
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
                "There are not as many initializers as names.", expected=len(names), received=len(given)
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

    # -- a step --------------------------------------------------------------------------------------------------

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """One step with pairs of (gradient, variable)."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """One step.

        Args:
            grads: the gradients; None for weights that take no part.
            trainable_variables: the weights, in the order of the gradients; those of `build` by default.

        Raises:
            StateError: there are no gradients at all, or the optimizer does not know the weights.
        """
        if not len(grads):
            return
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self._apply(grads, trainable_variables)
        return self._apply(grads, trainable_variables)

    def _apply(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> None:
        parameters, gradients = self._matched(grads, variables)
        if self.loss_scale_factor is not None:
            gradients = list(torch._foreach_div(gradients, self.loss_scale_factor))
        if self.gradient_accumulation_steps:
            self._accumulate(parameters, gradients)
        else:
            self._update_now(parameters, gradients)
        if self.use_ema:
            self._average()
        for parameter, constraint in self._constraints:
            parameter.copy_(constraint(parameter))
        self._iterations.add_(1)

    def _matched(
        self, grads: Sequence[Any], variables: Sequence[Any] | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and gradients in one order, of one dtype and layout, those without a gradient left out."""
        known = self._parameters
        if variables is None:
            if not self.built:
                raise StateError(
                    "The optimizer does not know which weights these gradients are of.",
                    where=f"optimizer '{self.name}'",
                    fix="pass the variables too, or call optimizer.build(variables) first",
                )
            variables = known
        elif not self.built:
            self.build(list(variables))
            known = self._parameters
        if len(grads) != len(variables):
            raise ShapeError(
                "There are not as many gradients as variables.",
                where=f"optimizer '{self.name}'",
                expected=len(variables),
                received=len(grads),
            )
        parameters = known
        if len(variables) != len(known) or not all(map(operator.is_, variables, known)):
            parameters = self._checked(variables)
        gradients: list[Tensor] = []
        missing = False
        for parameter, gradient in zip(parameters, grads, strict=True):
            if gradient is None:
                missing = True
                continue
            if (
                gradient.dtype is not parameter.dtype
                or gradient.layout is not torch.strided
                or gradient.stride() != parameter.stride()
            ):
                gradient = _like(gradient, parameter)
            gradients.append(gradient)
        if missing:
            parameters = self._with_gradients(parameters, grads)
        return parameters, gradients

    def _checked(self, variables: Sequence[Any]) -> list[Tensor]:
        for variable in variables:
            if id(variable) not in self._index:
                raise StateError(
                    "The optimizer was not built for this variable.",
                    where=f"optimizer '{self.name}'",
                    received=getattr(variable, "path", None) or f"a tensor of shape {tuple(variable.shape)}",
                    fix="make a new optimizer for new variables; after sharding a model, build the optimizer anew",
                )
        return list(variables)

    def _with_gradients(self, parameters: Sequence[Any], grads: Sequence[Any]) -> list[Tensor]:
        kept = [
            parameter for parameter, gradient in zip(parameters, grads, strict=True) if gradient is not None
        ]
        if not kept:
            raise StateError(
                "No variable has a gradient.",
                where=f"optimizer '{self.name}'",
                fix="check that the loss depends on the weights, and that nothing on the way is detached",
            )
        names = [
            str(getattr(parameter, "path", None) or tuple(parameter.shape))
            for parameter, gradient in zip(parameters, grads, strict=True)
            if gradient is None
        ]
        warn_once(f"These variables have no gradient and stay as they are: {', '.join(names)}.", stacklevel=5)
        return kept

    def _update_now(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Clip, decay, and update by the rule."""
        gradients = self._clipped(gradients)
        learning_rate, step = self.learning_rate, self.iterations + 1 if self._explicit else self._step()
        if not self._explicit and not self._own_step:
            learning_rate = float(learning_rate)
        if self.weight_decay is not None:
            self._apply_weight_decay(parameters, learning_rate)
        self.update(parameters, gradients, learning_rate, step)

    def _step(self) -> int:
        """The number of this update, from 1."""
        return int(self._iterations) // (self.gradient_accumulation_steps or 1) + 1

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.clipnorm and self.clipnorm > 0:
            return clip_by_norm(gradients, self.clipnorm)
        if self.global_clipnorm and self.global_clipnorm > 0:
            return clip_by_global_norm(gradients, self.global_clipnorm)
        if self.clipvalue and self.clipvalue > 0:
            return clip_by_value(gradients, self.clipvalue)
        return gradients

    def update(
        self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any
    ) -> None:
        """Change weights and slots in place.

        Args:
            parameters: the weights.
            gradients: their gradients, already clipped, of the same dtype and layout.
            learning_rate: a number, or a tensor without axes.
            step: the number of this update, from 1: an int, or an integer tensor without axes.
        """
        if self._own_step:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                self.update_step(gradient, parameter, learning_rate)
            return
        slots = self.slots(parameters, *(name for group in self.slot_groups() for name in group))
        if self._cut(parameters):
            for piece in blocks(parameters, gradients, slots):
                self.rule(*piece, learning_rate, step)
        else:
            self.rule(parameters, gradients, slots, learning_rate, step)

    def _cut(self, parameters: list[Tensor]) -> bool:
        """Whether to go through the weights in pieces."""
        if self._explicit or not self.elementwise or parameters[0].device.type != "cpu":
            return False
        return sum(parameter.numel() for parameter in parameters) > BLOCK and are_plain(parameters)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """The update rule of the class: changes weights and slots in place.

        Args:
            parameters: the weights, or pieces of them.
            gradients: their gradients.
            slots: for each name of `slot_groups` the slots of these weights.
            learning_rate: a number, or a tensor without axes.
            step: the number of this update, from 1: an int, or an integer tensor without axes.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement rule() or update_step().")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one weight and its slots in place."""
        slots = self.slots([variable], *(name for group in self.slot_groups() for name in group))
        self.rule([variable], [gradient], slots, learning_rate, self.iterations + 1)

    # -- decay, averages, accumulation ---------------------------------------------------------------------------

    def exclude_from_weight_decay(self, var_list: Sequence[Any] | None = None, var_names: Any = None) -> None:
        """Leave some weights out of weight decay.

        Args:
            var_list: the weights themselves.
            var_names: regular expressions; weights are left out whose name contains a match.
        """
        pattern = re.compile("|".join(sorted(set(var_names)))) if var_names else None
        self._excluded = ({id(variable) for variable in var_list or ()}, pattern)

    def _use_weight_decay(self, variable: Any) -> bool:
        """Whether a weight decays."""
        listed, pattern = self._excluded
        if id(variable) in listed:
            return False
        return pattern is None or pattern.search(getattr(variable, "name", None) or "") is None

    @property
    def _decays_all(self) -> bool:
        return not self._excluded[0] and self._excluded[1] is None

    def _apply_weight_decay(self, variables: list[Tensor], learning_rate: Number) -> None:
        if not self._decays_all:
            variables = [variable for variable in variables if self._use_weight_decay(variable)]
        if variables and self.weight_decay is not None:
            torch._foreach_mul_(variables, 1 - self.weight_decay * learning_rate)

    def _accumulate(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Add the gradients to those kept; at every so many steps, update with their mean."""
        steps = self.gradient_accumulation_steps or 1
        kept = self.slots(parameters, "gradient_accumulator")["gradient_accumulator"]
        torch._foreach_add_(kept, gradients)
        if self._explicit:
            due = (self._iterations + 1) % steps == 0
            with self._only_if(due):
                self._update_now(parameters, list(torch._foreach_div(kept, steps)))
            torch._foreach_mul_(self._slots["gradient_accumulator"], ~due)
        elif (int(self._iterations) + 1) % steps == 0:
            self._update_now(parameters, list(torch._foreach_div(kept, steps)))
            torch._foreach_zero_(self._slots["gradient_accumulator"])

    @contextlib.contextmanager
    def _only_if(self, condition: Tensor) -> Iterator[None]:
        """Undo the changes made within to weights and slots, unless a condition on the device holds."""
        changing = [*self._parameters, *self._variables]
        before = [tensor.clone() for tensor in changing]
        yield
        for tensor, old in zip(changing, before, strict=True):
            tensor.copy_(torch.where(condition.to(tensor.device), tensor, old))

    def _average(self) -> None:
        """Move the averages of the weights; every so many steps, set the weights to them."""
        averages = self._slots["average"]
        done = self.iterations
        share: Any = 1 - self.ema_momentum * (done != 0)
        if self._explicit:
            for parameter, average in zip(self._parameters, averages, strict=True):
                average.lerp_(parameter, share.to(average))
        else:
            torch._foreach_lerp_(averages, self._parameters, float(share))
        if not self.ema_overwrite_frequency:
            return
        due = (done + 1) % self.ema_overwrite_frequency == 0
        if self._explicit:
            for parameter, average in zip(self._parameters, averages, strict=True):
                parameter.copy_(torch.where(due.to(parameter.device), average, parameter))
        elif due:
            torch._foreach_copy_(self._parameters, averages)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """At the end of training: set the weights to their moving averages, if these are kept."""
        if self.use_ema:
            with torch.no_grad():
                averages = self.slots(list(var_list), "average")["average"]
                torch._foreach_copy_(list(var_list), averages)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss to take gradients of."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    # -- state from outside --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def explicit(
        self, variables: Sequence[Any] | None = None, trainable_variables: Any = None
    ) -> Iterator[None]:
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
                "The tensors do not match the variables one to one.", expected=len(own), received=len(given)
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

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; the learning rate as a number, a schedule as its config."""
        given = super().get_config()
        rate = self._learning_rate
        given["learning_rate"] = float(rate) if isinstance(rate, Tensor) else serialize_keras_object(rate)
        return given

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """An optimizer made from a config."""
        with maybe_scope(custom_objects):
            return cls(**revive(config))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Options(TypedDict, total=False):
    """The arguments that all optimizers share."""

    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None


def takes_options(after: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Complete a constructor's signature by the shared arguments, put after one of its own.

    The constructor itself takes them as `**options`; by position or by name, they are what Keras has there.
    """
    shared = [
        p for name, p in inspect.signature(Optimizer.__init__).parameters.items() if name in _shared_names
    ]

    def complete(init: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD]
        place = [p.name for p in own].index(after) + 1
        names = {p.name for p in own}
        rest = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
        inserted = [p for p in shared if p.name not in names]
        signature = inspect.Signature([*own[:place], *inserted, *own[place:], rest])

        @functools.wraps(init)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            given = signature.bind(self, *args, **kwargs).arguments
            init(given.pop("self"), **given.pop("kwargs", {}), **given)

        __init__.__signature__ = signature  # type: ignore[attr-defined]
        return __init__

    return complete


_shared_names = frozenset(Options.__annotations__)


def _legacy(learning_rate: Any, kwargs: dict[str, Any]) -> Any:
    """The learning rate, also where it came under its old name; other unknown arguments are an error."""
    if "lr" in kwargs:
        say_once("The argument lr of optimizers is deprecated, use learning_rate; it goes in version 2.0.")
        learning_rate = kwargs.pop("lr")
    if kwargs.pop("decay", None) is not None:
        say_once("The argument decay of optimizers has no effect; use a learning rate schedule.")
    if kwargs:
        raise ArgumentError(
            "Unknown argument of an optimizer.",
            received=", ".join(kwargs),
            fix="check the spelling, or leave it out",
        )
    return learning_rate


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        try:
            return float(convert_to_numpy(value).item())
        except (TypeError, ValueError, RuntimeError):
            raise ArgumentError(
                "This is no learning rate.",
                where="learning_rate",
                expected="a number, a LearningRateSchedule, or a function that returns a number",
                received=repr(value),
            ) from None
    return float(value)


def _check_options(optimizer: Optimizer) -> None:
    steps, frequency = optimizer.gradient_accumulation_steps, optimizer.ema_overwrite_frequency
    if steps and not steps >= 2:
        raise ArgumentError(
            "Gradients are accumulated over 2 steps or more.",
            where="gradient_accumulation_steps",
            received=steps,
        )
    if optimizer.use_ema and not 0 <= optimizer.ema_momentum <= 1:
        raise ArgumentError(
            "The momentum of the average lies in [0, 1].",
            where="ema_momentum",
            received=optimizer.ema_momentum,
        )
    if optimizer.use_ema and frequency and (not isinstance(frequency, int) or frequency < 1):
        raise ArgumentError(
            "The frequency is a positive whole number, or None.",
            where="ema_overwrite_frequency",
            received=frequency,
        )
    clips = {name: getattr(optimizer, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")}
    if sum(value is not None for value in clips.values()) > 1:
        raise ArgumentError("Only one kind of clipping can be used.", where=", ".join(clips), received=clips)


def _like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A gradient in the dtype and memory layout of its weight."""
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    if gradient.stride() == parameter.stride():
        return gradient.to(parameter.dtype)
    if gradient.shape != parameter.shape:
        raise ShapeError(
            "A gradient does not have the shape of its weight.",
            where=getattr(parameter, "path", None),
            expected=tuple(parameter.shape),
            received=tuple(gradient.shape),
        )
    return torch.empty_like(parameter).copy_(gradient)


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether all are ordinary tensors, so that kernels may go through their memory."""
    return all(type(tensor) in (Variable, torch.nn.Parameter, Tensor) for tensor in tensors)


def are_fusable(parameters: Sequence[Tensor]) -> bool:
    """Whether torch's fused kernels take them: ordinary dense tensors of one float dtype on one CPU or GPU."""
    first = parameters[0]
    return (
        first.device.type in ("cpu", "cuda")
        and first.is_floating_point()
        and are_plain(parameters)
        and all(other.dtype is first.dtype and other.device == first.device for other in parameters)
    )
