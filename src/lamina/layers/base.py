"""Layer: an `nn.Module` that finds out the shapes it needs, and knows how it was made."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lamina import regularizers
from lamina.core import policies, scopes, tree
from lamina.core.capture import is_ours
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, LaminaError, StateError, warn_once
from lamina.core.naming import auto_name
from lamina.core.outlines import with_data
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.core.text import as_text, gather_text, is_text
from lamina.graph.infer import infer
from lamina.graph.node import Node, connect
from lamina.graph.op import any_symbolic
from lamina.graph.tensor import KerasTensor
from lamina.layers import casting
from lamina.layers.configured import Configured
from lamina.layers.input_spec import assert_input_compatibility
from lamina.layers.masks import attach_masks, loses_masks, masks_on
from lamina.layers.quantized import Quantizable
from lamina.layers.signature import (
    build_arguments,
    build_parameters,
    call_signature,
    refuse_constants,
    shape_of,
    tuples,
)
from lamina.layers.stateless import stateless_call


class _SetByInit:
    """Stands in the class for what `__init__` puts into the layer, and is met only where that has not run."""

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        raise StateError(
            "The layer is not initialised.",
            where=f"{owner.__name__}.__init__",
            fix="call super().__init__(**kwargs) in it, before anything else",
        )


@builtin("keras", "Layer")
class Layer(Configured, Quantizable):
    """A computation with weights: write `__init__`, `build` and `call`, and use it as a Keras layer or a torch module.

    `build(input_shape)` makes weights with `add_weight`, once, at the first call; `call(inputs, ...)` computes. Output
    shapes, config, saving and dtypes follow from these. A layer begins in evaluation mode; `fit` (or `.train()`)
    switches it, and a `call` that takes `training` is told.

    Args:
        activity_regularizer: a penalty on the outputs.
        trainable: whether the weights learn.
        dtype: the dtype or dtype policy.
        autocast: whether float inputs are cast to the compute dtype.
        name: a name, unique in a model.

    Raises:
        ArgumentError: an argument is unknown.

    Example:
        >>> class Scale(Layer):
        ...     def build(self, input_shape):
        ...         self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
        ...     def call(self, inputs):
        ...         return inputs * self.factor
        >>> Scale()(torch.full((1, 2), 3.0)).tolist()
        [[3.0, 3.0]]

    Source: https://keras.io/api/layers/base_layer/
    """

    training: bool
    built: bool
    _backward_hooks: Any = _SetByInit()
    # Dtype and ranks of the inputs for which the fast way is known; under a mixed policy None and (ranks, dtype).
    _fast: tuple[Any, Any] | None

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        early = {key: value for key, value in self.__dict__.items() if key != "_arguments"}
        nn.Module.__init__(self)
        if not isinstance(trainable, (bool, np.bool_)):
            raise ArgumentError("`trainable` is True or False.", where="trainable", received=repr(trainable))
        self.__dict__.update(
            training=False,
            built=False,
            name=str(name) if name is not None else auto_name(type(self).__name__),
            dtype_policy=policies.get(dtype),
            activity_regularizer=regularizers.get(activity_regularizer),
            autocast=autocast,
            input_spec=None,
            supports_masking=not is_ours(_owner(type(self), "compute_mask")),
            _trainable=bool(trainable),
            _fast=None,
            _building=False,
            _inbound_nodes=[],
            _weight_specs={},
            _call_losses=[],
            _losses_of=None,
            _build_shapes=None,
            _tracked=set(),
        )
        if "/" in self.name:
            raise ArgumentError("A layer's name has no slash.", where="name", received=repr(name))
        self._legacy_arguments(kwargs)
        self._refresh()
        for key, value in early.items():
            self._adopt(key, value)

    def _build_at_init(self) -> None:
        """Count as built from the start, as a layer without weights can; not where a subclass has a `build`."""
        if not self._has_build():
            self.built = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _once_built(cls.__dict__["build"])

    def __getattr__(self, name: str) -> Any:
        """Weights, state and sublayers; while a mixed policy computes, weights in the compute dtype."""
        own = self.__dict__
        if "_parameters" in own:
            table = own["_parameters"]
            if name in table:
                return self._read_weight(name) if own["_mixed"] else table[name]
            table = own["_buffers"]
            if name in table:
                return table[name]
            table = own["_modules"]
            if name in table:
                return table[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _read_weight(self, name: str) -> Any:
        """A weight as `call` sees it under a mixed policy."""
        weight, spec = self._parameters[name], self._weight_specs.get(name)
        if weight is None or (spec is not None and not spec.autocast):
            return weight
        return casting.read(weight, as_variable=not is_ours(type(self)))

    # What a subclass writes.

    def build(self, *input_shapes: Any, **named_shapes: Any) -> None:
        """Make the weights, for inputs of these shapes; by default run `call` symbolically, to build sublayers."""
        shapes = [tuples(shape) for shape in input_shapes]
        if (
            shapes
            and shapes[0] is not None
            and not all(_built(module) for module in self.modules() if module is not self)
        ):
            infer(self._compute, tuple(self._symbolic(shape) for shape in shapes), {}, self._where())

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs from real tensors."""
        raise NotImplementedError(f"The layer {type(self).__name__} has no call() method: write one.")

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the outputs: that of the inputs, unless a layer says otherwise."""
        return previous_mask

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shape of the outputs for inputs of a shape, found by running `call` on tensors without data."""
        if type(self).call is Layer.call:
            self.call()
        layer = self if self.built else copy.deepcopy(self)
        symbolic = [layer._symbolic(tuples(shape)) for shape in args]
        named = {key.removesuffix("_shape"): layer._symbolic(tuples(shape)) for key, shape in kwargs.items()}
        outputs = layer.compute_output_spec(*symbolic, **named)
        return tree.map_structure(lambda leaf: leaf.shape, outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for symbolic inputs, as symbolic tensors that are not part of a graph."""
        self._maybe_build(args, kwargs)
        if not is_ours(_owner(type(self), "compute_output_shape")):
            shape = self.compute_output_shape(*build_arguments(type(self), args, kwargs).values())
            return _symbolic_of(shape, self.compute_dtype)
        return infer(self._compute, args, kwargs, self._where())

    # The call. `forward` is the way of a layer that is built; everything else is decided in `_call_in_general`.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What `nn.Module.__call__` runs."""
        if args and not kwargs and (fast := self._fast) is not None:
            x = args[0] if len(args) == 1 else args
            if type(x) is torch.Tensor:
                known = x.dtype is fast[0] and x.ndim == fast[1] and not hasattr(x, "_keras_mask")
            else:
                known = (x is args or type(x) is list) and _all_known(x, fast)
            if known:
                try:
                    return self.call(*args, training=self.training) if self._takes_training else self.call(*args)
                except RuntimeError as error:
                    self._explain(error, args)
        return self._call_in_general(*args, **kwargs)

    def _call_in_general(self, *args: Any, **kwargs: Any) -> Any:
        if args and not kwargs and (fast := self._fast) is not None and fast[0] is None:
            cast = self._cast_as_known(args, fast)
            if cast is not None:
                return self._call_mixed(cast)
        elif self._fast is not None and len(args) == 1 and not kwargs and _is_numbers(args[0]):
            x = convert_to_tensor(args[0], device=self._device())
            if x.dtype is self._fast[0] and x.ndim == self._fast[1]:
                return self.forward(x)
        training = self._explicit_training(args, kwargs)
        if any_symbolic(args) or (kwargs and any_symbolic(kwargs)):
            return self._call_symbolically(args, kwargs)
        if training is None:
            return self._compute(*args, **kwargs)
        with contextlib.nullcontext() if bool(training) == self.training else _mode(self, bool(training)):
            if self._fast is not None and kwargs.keys() == {"training"}:
                return self.forward(*args)
            return self._compute(*args, **kwargs)

    def _call_mixed(self, args: tuple[Any, ...]) -> Any:
        """The fast way of a mixed policy: nothing but weights that read as 16 bits surrounds `call`."""
        try:
            with casting.Computing(self._compute_dtype):
                return self.call(*args, training=self.training) if self._takes_training else self.call(*args)
        except RuntimeError as error:
            self._explain(error, args)

    def _cast_as_known(self, args: tuple[Any, ...], fast: tuple[Any, Any]) -> tuple[Any, ...] | None:
        """The arguments in the dtype for which the fast way was found, or None if it does not suit them."""
        ranks, dtype = fast[1]
        inputs = args[0] if len(args) == 1 and type(args[0]) is list else args
        if type(ranks) is not type(inputs) or len(ranks) != len(inputs):
            return None
        casts = self.autocast and dtype.is_floating_point
        cast = []
        for x, rank in zip(inputs, ranks, strict=True):
            if type(x) is not torch.Tensor or x.ndim != rank or hasattr(x, "_keras_mask"):
                return None
            if x.dtype is not dtype:
                if not casts or not x.is_floating_point():
                    return None
                x = x.to(dtype)
            cast.append(x)
        return tuple(cast) if inputs is args else (cast,)

    def _call_symbolically(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call as a node of the graph."""
        refuse_constants(type(self), args, self._where())
        self._check_inputs(args, kwargs)
        self._maybe_build(args, kwargs)
        return connect(self, args, kwargs, self.compute_output_spec(*args, **kwargs))

    def _compute(self, *args: Any, **kwargs: Any) -> Any:
        """One call on real tensors (or tensors without data) with all that may surround it."""
        signature = call_signature(type(self))
        device = self._device()
        args = tuple(self._convert(arg, device) for arg in args)
        kwargs = {key: self._convert(value, device) for key, value in kwargs.items()}
        with scopes.entry(), scopes.name_scope(self.name, caller=self):
            self._forget_losses()
            self._check_inputs(args, kwargs)
            self._maybe_build(args, kwargs)
            masks = self._masks_of(args, kwargs)
            if signature.training and kwargs.get("training") is None and "training" not in _positional(signature, args):
                kwargs["training"] = self.training
            elif not signature.training:
                kwargs.pop("training", None)
            self._pass_masks(signature, args, kwargs, masks)
            if kwargs.get("mask") is not None:
                masks = kwargs["mask"]
            try:
                plainly = not self._mixed and not casting.autocasts()
                with contextlib.nullcontext(False) if plainly else self._precision(device) as is_loose:
                    outputs = self.call(*args, **kwargs)
            except RuntimeError as error:
                self._explain(error, args)
                raise
            if is_loose:
                outputs = tree.map_structure(lambda x: self.cast(x) if _is_float_tensor(x) else x, outputs)
            outputs = self._finish(outputs, args, masks, kwargs)
        self._learn_fast_way(args, kwargs, outputs, signature)
        return outputs

    def _convert(self, value: Any, device: torch.device) -> Any:
        """An argument as the layer wants it: arrays as tensors, floats in the compute dtype."""
        if isinstance(value, torch.Tensor):
            return self._cast_input(value)
        if isinstance(value, (list, tuple, dict)):
            return tree.map_structure(lambda leaf: self._convert_leaf(leaf, device), gather_text(value))
        return self._convert_leaf(value, device)

    def _convert_leaf(self, value: Any, device: torch.device) -> Any:
        if isinstance(value, torch.Tensor):
            return self._cast_input(value)
        if hasattr(value, "__array__") and not isinstance(value, KerasTensor):
            if is_text(value):
                return as_text(value)
            if _numeric(value):
                return self._cast_input(convert_to_tensor(value, device=device))
        return value

    def _cast_input(self, x: torch.Tensor) -> torch.Tensor:
        if self.autocast and x.is_floating_point() and x.dtype is not self._compute_dtype:
            cast = x.to(self._compute_dtype)
            if hasattr(x, "_keras_mask"):
                cast._keras_mask = x._keras_mask  # type: ignore[attr-defined]
            return cast
        return x

    def cast(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor in the layer's compute dtype."""
        return x if x.dtype is self._compute_dtype else x.to(self._compute_dtype)

    @contextlib.contextmanager
    def _precision(self, device: torch.device) -> Iterator[bool]:
        """What the policy asks for around a call; tells whether the dtypes of its outputs are left to torch."""
        is_loose = self._mixed and casting.holds_other_weights(self, is_ours(type(self)))
        with contextlib.ExitStack() as stack:
            if self._mixed:
                stack.enter_context(casting.Computing(self._compute_dtype))
            if is_loose or casting.autocasts():
                stack.enter_context(casting.autocasting(device, self._compute_dtype if is_loose else None))
            if is_loose:
                for layer in self._flatten_layers():
                    layer.__dict__["_fast"] = None  # what surrounds it now, the fast way would not see
            yield is_loose

    def _explicit_training(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The `training` argument of this call, or None."""
        if "training" in kwargs:
            return kwargs["training"]
        signature = call_signature(type(self))
        if signature.training and "training" in _positional(signature, args):
            return args[signature.names.index("training")]
        return None

    def _check_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.input_spec is not None:
            first = args[0] if args else next(iter(kwargs.values()), None)
            assert_input_compatibility(self.input_spec, first, self._where())

    def _finish(self, outputs: Any, args: tuple[Any, ...], masks: Any, kwargs: Mapping[str, Any]) -> Any:
        """Masks and penalties after the call."""
        if self.activity_regularizer is not None:
            for output in tree.flatten(outputs):
                if _is_float_tensor(output):
                    samples = output.shape[0] if output.ndim else 1
                    self.add_loss(self.activity_regularizer(output) / max(samples, 1))
        if self.supports_masking:
            attach_masks(outputs, self.compute_mask(args[0] if args else None, masks))
        elif loses_masks(outputs, (masks, self._masks_not_passed(args, kwargs))):
            warn_once(
                f"Layer '{self.name}' ({type(self).__name__}) was given a masked input, but does not support masking "
                "and drops the mask. Set `self.supports_masking = True` in it if the mask still holds for its output."
            )
        return outputs

    def _masks_not_passed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The masks that travel with arguments of `call` which does not take them."""
        given = {**_positional(call_signature(type(self)), args), **kwargs}
        return [masks_on(value) for name, value in given.items() if f"{name}_mask" not in kwargs]

    def _masks_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The masks that travel with the first argument (with all, where `call` takes `*args`), or None."""
        if len(args) > 1 and call_signature(type(self)).variadic:
            return masks_on(list(args))
        return masks_on(args[0] if args else next(iter(kwargs.values()), None))

    def _pass_masks(self, signature: Any, args: tuple[Any, ...], kwargs: dict[str, Any], masks: Any) -> None:
        """Give `call` the masks it asks for."""
        positional = _positional(signature, args)
        if signature.mask and kwargs.get("mask") is None and "mask" not in positional and masks is not None:
            kwargs["mask"] = masks
        for name in signature.masks:
            value = {**positional, **kwargs}.get(name.removesuffix("_mask"))
            if kwargs.get(name) is None and name not in positional and (masks := masks_on(value)) is not None:
                kwargs[name] = masks

    def _learn_fast_way(self, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any, signature: Any) -> None:
        """From now on, calls like this one go straight from `forward` to `call`, where nothing surrounds it."""
        if self._fast is not None or not self.built or not args:
            return
        alone = len(args) == 1
        inputs: Any = args[0] if alone and type(args[0]) is list else args
        plain = (
            not casting.autocasts()
            and not (self._mixed and casting.holds_other_weights(self, is_ours(type(self))))
            and self.activity_regularizer is None
            and not any(layer._call_losses for layer in self._flatten_layers())
            and not self._makes_masks(outputs)
            and set(kwargs) <= {"training"}
            and all(type(x) is torch.Tensor and x.dtype is inputs[0].dtype for x in inputs)
            and not any(hasattr(x, "_keras_mask") for x in inputs)
            and all(_built(module) for module in self.modules())
        )
        if plain and inputs:
            self.__dict__["_takes_training"] = signature.training
            ranks, dtype = type(inputs)(x.ndim for x in inputs), inputs[0].dtype
            plainly = (dtype, ranks[0] if alone and inputs is args else ranks)
            self.__dict__["_fast"] = (None, (ranks, dtype)) if self._mixed else plainly

    def _makes_masks(self, outputs: Any) -> bool:
        """Whether there may be a mask on the outputs although there is none on the inputs."""
        owner = _owner(type(self), "compute_mask")
        if owner is Layer or not self.supports_masking:
            return False
        return not is_ours(owner) or any(hasattr(output, "_keras_mask") for output in tree.flatten(outputs))

    def _explain(self, error: RuntimeError, args: tuple[Any, ...]) -> None:
        """Raise the error the inputs deserve when torch has failed on them; else say in which layer it happened."""
        if isinstance(error, LaminaError):
            raise error
        try:
            self._check_inputs(args, {})
        except LaminaError as better:
            raise better from None
        shapes = ", ".join(str(shape_of(arg)) for arg in args)
        note = f"in {self._where()}, called on inputs of shape {shapes}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise error

    def stateless_call(
        self,
        trainable_variables: Sequence[Any],
        non_trainable_variables: Sequence[Any],
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Call the layer with these values in place of its variables, which stay as they are.

        Args:
            trainable_variables: a tensor for each of `layer.trainable_variables`.
            non_trainable_variables: a tensor for each of `layer.non_trainable_variables`.
            *args: what the layer is called with.
            return_losses: whether to return the losses too.
            **kwargs: what the layer is called with.

        Returns:
            The outputs, the non-trainable variables after the call, and with `return_losses` the losses.

        Raises:
            StateError: the layer is not built.
            ArgumentError: the number of values differs from that of the variables.
        """
        outputs, state, losses = stateless_call(self, trainable_variables, non_trainable_variables, args, kwargs)
        return (outputs, state, losses) if return_losses else (outputs, state)

    # Building.

    def _has_build(self) -> bool:
        return _owner(type(self), "build") is not Layer

    def _maybe_build(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.built:
            return
        if not self._has_build():
            self.__dict__["_build_shapes"] = _without_training(build_arguments(type(self), args, kwargs))
            self.built = True
            return
        shapes = build_arguments(type(self), args, kwargs)
        self.build(**shapes)

    def _symbolic(self, shape: Any) -> Any:
        return _symbolic_of(shape, self._input_dtype())

    def _input_dtype(self) -> str:
        """The dtype of inputs when only their shape is known."""
        return self.compute_dtype

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes the layer was built with, none if it needs none; None if it has nothing to build."""
        shapes = self._build_shapes
        if not shapes and (shapes is None or not self._has_build()):
            return None
        if len(shapes) == 1:
            return {"input_shape": next(iter(shapes.values()))}
        return {"shapes_dict": dict(shapes)}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Build with the shapes that `get_build_config` gave."""
        if not config or self.built:
            return
        if config.get("input_shape") is not None:
            shape = tuples(config["input_shape"])
            wanted = build_parameters(type(self))
            self.build(**{wanted[0]: shape}) if wanted else self.build(shape)
        elif "shapes_dict" in config:
            self.build(**{key: tuples(shape) for key, shape in config["shapes_dict"].items()})
        self.built = True

    # Losses.

    def add_loss(self, loss: Any) -> None:
        """Add a scalar (or several) to what training minimises; call it inside `call`."""
        if any_symbolic(loss):
            raise ArgumentTypeError(
                "add_loss needs values, and a symbolic tensor has none.",
                where=self._where(),
                received=loss,
                fix="write a layer whose call() computes the loss and adds it with self.add_loss()",
            )
        self.__dict__["_fast"] = None
        if scopes.unknown_stand_in() is not None:
            return
        self._forget_losses()
        self.__dict__["_losses_of"] = scopes.current_entry()
        for value in tree.flatten(loss):
            self._call_losses.append(convert_to_tensor(value))

    def _forget_losses(self) -> None:
        """Drop the losses of an earlier outermost call."""
        if self._call_losses and self._losses_of is not scopes.current_entry():
            self.__dict__["_call_losses"] = []

    @property
    def losses(self) -> list[torch.Tensor]:
        """The losses added in the latest call, and the penalties on the weights."""
        return self._collect_losses(self._flatten_layers())

    def _collect_losses(self, layers: Sequence[Layer]) -> list[torch.Tensor]:
        added = [loss for layer in layers for loss in layer._call_losses]
        penalties = []
        for layer in layers:
            for key, spec in layer._weight_specs.items():
                weight = layer._parameters.get(key)
                if spec.regularizer is not None and weight is not None and weight.requires_grad:
                    penalties.append(spec.regularizer(weight))
        return added + penalties

    # Dtypes.

    def _refresh(self) -> None:
        """Recompute what follows from the dtype policy."""
        policy = self._policy()
        compute = torch_dtype(policy.compute_dtype)
        mixed = policy.compute_dtype != policy.variable_dtype
        self.__dict__.update(_compute_dtype=compute, _mixed=mixed, _fast=None, _takes_training=False)

    @property
    def compute_dtype(self) -> str:
        """The dtype the layer computes in."""
        return self._policy().compute_dtype

    @property
    def dtype(self) -> str:
        """The dtype of the weights."""
        return self.variable_dtype

    @property
    def input_dtype(self) -> str:
        """The dtype that float inputs are cast to."""
        return self._policy().compute_dtype

    # Places in a graph.

    @property
    def input(self) -> Any:
        """The symbolic input of the layer's first call in a graph."""
        node = self._first_node()
        return node.args[0] if len(node.args) == 1 else node.input_tensors

    @property
    def output(self) -> Any:
        """The symbolic output of the layer's first call in a graph."""
        return self._first_node().outputs

    @property
    def input_shape(self) -> Any:
        """The shape of the layer's input in a graph."""
        return shape_of(self.input)

    @property
    def output_shape(self) -> Any:
        """The shape of the layer's output in a graph."""
        return shape_of(self.output)

    def _first_node(self) -> Node:
        if not self._inbound_nodes:
            raise StateError(
                "The layer has not been called on symbolic inputs, so it has no input and no output.",
                where=self._where(),
                fix="call it on an Input(), or put it into a Sequential with a known input shape",
            )
        return self._inbound_nodes[0]

    def extra_repr(self) -> str:
        """The name, shown when the module is printed."""
        return f"name={self.name}, built={self.built}"


def _once_built(build: Callable[..., None]) -> Callable[..., None]:
    """`build` with what surrounds it: the name scope, real tensors even while shapes are inferred, the shapes kept."""
    if getattr(build, "_once_built", False):
        return build

    @functools.wraps(build)
    def wrapper(self: Layer, *args: Any, **kwargs: Any) -> None:
        if self._building:
            return build(self, *args, **kwargs)
        args = tuple(tuples(shape) for shape in args)
        before = dict(self._parameters), dict(self._buffers)
        self.__dict__["_building"] = True
        try:
            with scopes.name_scope(self.name, caller=self), with_data():
                if isinstance(self.dtype_policy, policies.DTypePolicyMap):
                    self._refresh()
                build(self, *args, **kwargs)
        except BaseException:
            for table, saved in zip((self._parameters, self._buffers), before, strict=True):
                table.clear()
                table.update(saved)  # type: ignore[arg-type]
            raise
        finally:
            self.__dict__["_building"] = False
        self.built = True
        names = build_parameters(type(self)) or ("input_shape",)
        shapes = _without_training({**dict(zip(names, args, strict=False)), **kwargs})
        if self._build_shapes is None:
            self.__dict__["_build_shapes"] = shapes

    wrapper._once_built = True  # type: ignore[attr-defined]
    return wrapper


Layer.build = _once_built(Layer.build)  # type: ignore[method-assign]


@contextlib.contextmanager
def _mode(layer: nn.Module, training: bool) -> Iterator[None]:
    """All modules in training or evaluation mode for a while."""
    changed = [module for module in layer.modules() if module.training != training]
    for module in changed:
        module.training = training
    try:
        yield
    finally:
        for module in changed:
            module.training = not training


def _owner(cls: type, name: str) -> type:
    """The class that defines a method."""
    return next(c for c in cls.__mro__ if name in c.__dict__)


def _built(module: nn.Module) -> bool:
    return not isinstance(module, Layer) or module.built


def _without_training(shapes: dict[str, Any]) -> dict[str, Any]:
    return {key: shape for key, shape in shapes.items() if shape is not None}


def _symbolic_of(shape: Any, dtype: str) -> Any:
    """Symbolic tensors of a shape, or of each shape in a list or dict of shapes."""
    if isinstance(shape, Mapping):
        return {key: _symbolic_of(part, dtype) for key, part in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return KerasTensor(shape, dtype)
    parts = [_symbolic_of(part, dtype) for part in shape]
    return tuple(parts) if isinstance(shape, tuple) else parts


def _positional(signature: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    return {} if signature.variadic else dict(zip(signature.names, args, strict=False))


def _all_known(inputs: Any, fast: tuple[torch.dtype, Any]) -> bool:
    """Whether all tensors of a list, or of several arguments, are as when the fast way was found, and have no masks."""
    dtype, ranks = fast
    if type(ranks) is not type(inputs) or len(inputs) != len(ranks):
        return False
    for x, rank in zip(inputs, ranks, strict=True):
        if type(x) is not torch.Tensor or x.dtype is not dtype or x.ndim != rank or hasattr(x, "_keras_mask"):
            return False
    return True


def _is_float_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _is_numbers(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in "biufc"


def _numeric(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return getattr(dtype, "kind", "f") in "biufc"
