"""Symbolic tensors, shape inference, and graphs run as plans."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import ops
from lamina.core.errors import ArgumentError, ArgumentTypeError, LaminaError, ShapeError
from lamina.graph.function import Plan
from lamina.graph.infer import STAND_INS
from lamina.graph.op import broadcast_shapes, op
from lamina.graph.tensor import KerasTensor
from lamina.layers import Dense, Embedding, Input, Layer
from lamina.models import Model, Sequential, model_from_json


@op
def double(x):
    return x * 2


def test_masks_travel_with_symbolic_tensors():
    seen = []

    class Looks(Layer):
        def call(self, inputs, mask=None):
            seen.append(mask)
            return inputs

    x = Input((None,), dtype="int32")
    Looks()(Dense(1)(Embedding(5, 3, mask_zero=True)(x)))
    assert len(seen) == 2 and all(mask.dtype == torch.bool and mask.ndim == 2 for mask in seen)


def test_keys_of_an_index_survive_json():
    x = Input((4, 3))
    model = Model(x, [x[:, 0, :2], x[:, :, None], x[..., 1:]])
    values = torch.rand(2, 4, 3)
    for first, second in zip(model(values), model_from_json(model.to_json())(values), strict=True):
        assert torch.equal(first, second)


def test_op_calls_straight_through_on_real_tensors():
    assert double(torch.ones(2)).tolist() == [2.0, 2.0]


def test_op_records_on_symbolic_tensors():
    x = Input(shape=(3,))
    y = double(x)
    assert isinstance(y, KerasTensor) and y.shape == (None, 3)
    assert Plan([x], [y]).run([torch.ones(1, 3)])[0].tolist() == [[2.0, 2.0, 2.0]]


def test_any_torch_function_becomes_a_node():
    x = Input(shape=(4,))
    y = torch.softmax(torch.cat([x, x], dim=1), dim=-1)
    assert y.shape == (None, 8)
    result = Plan([x], [y]).run([torch.zeros(2, 4)])[0]
    torch.testing.assert_close(result, torch.full((2, 8), 0.125))


@pytest.mark.parametrize("stand_in", STAND_INS)
def test_sizes_that_meet_a_stand_in_stay_known(stand_in):
    assert double(KerasTensor((None, stand_in))).shape == (None, stand_in)


def test_unknown_dimensions_stay_unknown_through_arithmetic():
    x = Input(shape=(None, None, 3))
    assert ops.reshape(x, (-1, 3)).shape == (None, 3)
    assert torch.flatten(x, 1).shape == (None, None)
    assert x[:, 1:].shape == (None, None, None, 3)


def test_failing_shapes_name_the_op_and_the_shapes():
    with pytest.raises(ShapeError, match=r"(?s)matmul.*\(None, 3\).*\(4, 5\)"):
        ops.matmul(KerasTensor((None, 3)), KerasTensor((4, 5)))


@pytest.mark.parametrize("use", [bool, len, list, float, int])
def test_symbolic_tensors_have_no_values(use):
    with pytest.raises(ArgumentTypeError):
        use(Input(shape=(3,)))


def test_modal_torch_functions_are_refused_with_the_way_out():
    with pytest.raises(ArgumentError, match="TorchModuleWrapper"):
        torch.nn.Dropout(0.5)(Input(shape=(3,)))


def test_plan_frees_what_is_no_longer_needed():
    x = Input(shape=(2,))
    plan = Plan([x], [double(double(double(x)))])
    values = [torch.ones(1, 2)]
    plan.run(values)
    assert sum(value is not None for value in values) == 1


def test_disconnected_outputs_are_an_error():
    a, b = Input(shape=(2,)), Input(shape=(2,), name="other")
    with pytest.raises(ArgumentError, match="other"):
        Plan([a], [ops.add(a, b)])


def test_bad_shapes():
    for shape in (3, "abc", (-1,), (1.5,)):
        with pytest.raises(ShapeError):
            KerasTensor(shape)  # type: ignore[arg-type]


sizes = st.lists(st.sampled_from([None, 1, 2, 3]), max_size=4).map(tuple)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes)
def test_broadcasting_of_symbolic_shapes_agrees_with_torch(first, second):
    """Whatever sizes the unknown dimensions turn out to have, if torch can broadcast, the rule foretold the shape."""
    concrete = [tuple(3 if size is None else size for size in shape) for shape in (first, second)]
    try:
        expected = tuple(torch.broadcast_shapes(*concrete))
    except RuntimeError:
        return
    foretold = broadcast_shapes(first, second)
    assert len(foretold) == len(expected)
    assert all(size is None or size == other for size, other in zip(foretold, expected, strict=True))


def test_broadcast_failure():
    with pytest.raises(LaminaError, match="broadcast"):
        broadcast_shapes((2, 3), (2, 4))


def test_failing_eager_calls_name_the_op_and_the_shapes_too():
    with pytest.raises(ShapeError, match=r"(?s)add.*\(2, 3\), \(4, 3\)"):
        ops.add(torch.ones(2, 3), torch.ones(4, 3))


def test_lists_beside_symbolic_tensors_take_part_in_broadcasting():
    assert ops.add(KerasTensor((None, 1)), [1.0, 2.0, 3.0]).shape == (None, 3)


def test_dtype_of_scalars_beside_symbolic_tensors():
    assert ops.multiply(KerasTensor((None, 1), "bfloat16"), torch.tensor(2.0)).dtype == "bfloat16"


def test_five_unknown_dimensions_do_not_overflow():
    assert double(KerasTensor((None, None, None, None, None))).shape == (None,) * 5


def test_symbolic_tensors_are_found_in_lists_by_identity():
    x, y = Input(shape=(3,)), Input(shape=(3,))
    assert x in [y, x] and x not in [y]
    assert isinstance(x != y, KerasTensor) and isinstance(round(x), KerasTensor)


_ORDINARY_MODELS = """
import sys
from lamina import layers as L, models

L.Input((8,))
models.Sequential([L.Input((8,)), L.Dense(8, activation="relu"), L.Dropout(0.5), L.Dense(2, activation="softmax")])
models.Sequential([
    L.Input((28, 28, 1)), L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(), L.MaxPooling2D(), L.Flatten(),
    L.Dense(2),
])
models.Sequential([L.Input((5, 3)), L.LSTM(4, return_sequences=True), L.GRU(4), L.Dense(1, activation="sigmoid")])
i = L.Input((6,), dtype="int32")
x = L.Embedding(9, 8)(i)
x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x))
x = L.Concatenate()([x, L.Dense(8, activation="gelu")(x)])
models.Model(i, L.Dense(1)(L.GlobalAveragePooling1D()(x)))
print([name for name in ("sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes") if name in sys.modules])
"""


def test_building_a_model_does_not_load_the_tracer():
    done = subprocess.run([sys.executable, "-c", _ORDINARY_MODELS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_layer_is_run_at_most_twice_to_be_built():
    runs = []

    class Counting(Layer):
        def call(self, inputs):
            runs.append(tuple(inputs.shape))
            return inputs * 2

    Sequential([Input((4,)), Counting(), Counting()])
    assert len(runs) == 4
    runs.clear()
    Counting()(Input(batch_shape=(2, 4)))
    assert runs == [(2, 4)]
