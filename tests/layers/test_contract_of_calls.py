"""What programs written for Keras rely on in any layer: state, building, arguments of calls, losses, paths."""

import numpy as np
import pytest
import torch

from lamina import layers, metrics, models
from lamina.core.errors import ArgumentError, ArgumentTypeError, StateError
from lamina.core.policies import DTypePolicyMap
from lamina.core.seeds import SeedGenerator
from lamina.core.variable import Variable
from lamina.graph.tensor import KerasTensor


class Counting(layers.Layer):
    """Adds a weight, counts its calls, draws noise and adds a loss."""

    def __init__(self):
        super().__init__()
        self.noise = SeedGenerator(5)
        self.shift = self.add_weight(shape=(), initializer="zeros", regularizer="l2", name="shift")
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
        self._build_at_init()

    def call(self, inputs):
        self.calls.assign_add(1.0)
        self.add_loss(inputs.sum())
        return inputs + self.shift + torch.rand((), generator=self.noise.generator())


def test_a_stateless_call_leaves_the_layer_as_it_was():
    layer, twin = Counting(), Counting()
    x = torch.ones(2)
    shift = torch.tensor(3.0, requires_grad=True)
    outputs, state, losses = layer.stateless_call([shift], layer.non_trainable_variables, x, return_losses=True)
    torch.testing.assert_close(outputs, twin(x) + 3.0)
    assert [v.tolist() for v in state] == [v.tolist() for v in twin.non_trainable_variables]
    torch.testing.assert_close(torch.stack(losses), torch.tensor([2.0, 0.09]))
    (outputs.sum() + losses[1]).backward()
    assert shift.grad is not None and layer.shift.grad is None
    assert float(layer.calls) == 0 and layer.noise.state.tolist() == [5, 0] and layer.losses[0].item() == 0
    again, _ = layer.stateless_call([shift], state, x)
    assert not torch.equal(again, outputs)


def test_a_stateless_call_wants_all_variables_of_a_built_layer():
    with pytest.raises(StateError, match="built"):
        layers.Dense(1).stateless_call([], [], torch.ones(1, 1))
    with pytest.raises(ArgumentError, match="trainable_variables"):
        Counting().stateless_call([], [], torch.ones(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda base: type("Own", (base,), {"build": lambda self, input_shape: None})(*_arguments(base)),
        lambda base: base(*_arguments(base)),
    ],
)
@pytest.mark.parametrize("base", [layers.Activation, layers.Dropout, layers.Identity, layers.MaxPooling2D, layers.ReLU])
def test_layers_without_weights_are_built_at_once(make, base):
    layer = make(base)
    assert layer.built is (type(layer) is base)


def _arguments(base):
    return {layers.Activation: ("relu",), layers.Dropout: (0.5,)}.get(base, ())


def test_attributes_set_before_the_base_is_ready():
    class Early(layers.Layer):
        def __init__(self):
            self.scale = Variable(2.0)
            self.inner = [layers.Dense(1)]
            super().__init__()

        def call(self, inputs):
            return self.inner[0](inputs) * self.scale

    layer = Early()
    assert layer(torch.ones(2, 3)).shape == (2, 1)
    assert len(layer.weights) == 3 and len(list(layer.parameters())) == 3


def test_seed_generators_in_lists_are_state():
    layer = layers.Layer()
    layer.generators = [SeedGenerator(1)]
    layer.generators.append(SeedGenerator(2))
    assert [v.tolist() for v in layer.variables] == [[1, 0], [2, 0]]


def test_symbolic_calls_leave_no_losses():
    class Penalised(layers.Layer):
        def call(self, inputs):
            self.add_loss(inputs.sum())
            return inputs

    model = models.Sequential([Penalised(activity_regularizer="l1")])
    model(KerasTensor((2, 2)))
    assert model.losses == []
    model(torch.ones(2, 2))
    assert [float(loss) for loss in model.losses] == [4.0, pytest.approx(0.02)]


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_activity_of_a_number_and_of_no_samples(shape):
    layer = layers.Activation("linear", activity_regularizer="l2")
    layer(torch.ones(shape))
    assert float(layer.losses[0]) == pytest.approx(0.01 if shape == () else 0.0)


def test_masks_of_nested_arguments():
    class Taking(layers.Layer):
        def call(self, pair, other, pair_mask=None, other_mask=None):
            self.given = pair_mask, other_mask
            return other

    mask = torch.tensor([True, False])
    masked = torch.ones(2, 3)
    masked._keras_mask = mask
    layer = Taking()
    layer.supports_masking = True
    layer((masked, torch.ones(2, 3)), torch.ones(2, 3))
    assert layer.given[0][0] is mask and layer.given[0][1] is None and layer.given[1] is None


def _masked(mask):
    x = torch.ones(2, 3)
    x._keras_mask = mask
    return x


def test_a_mask_that_would_be_lost_is_told_of():
    class Plain(layers.Layer):
        def call(self, first, second=None):
            return first * 2

    mask = torch.tensor([True, False])
    for args in ((_masked(mask),), (torch.ones(2, 3), _masked(mask))):
        with pytest.warns(UserWarning, match="drops the mask"):
            Plain()(*args)
    with pytest.warns(UserWarning, match="drops the mask"):
        Plain()(torch.ones(2, 3), second=_masked(mask))


def test_a_layer_that_makes_masks_supports_them():
    class Turning(layers.Layer):
        def call(self, inputs):
            return inputs * 2

        def compute_mask(self, inputs, previous_mask):
            return ~previous_mask if previous_mask is not None else inputs[:, 0] > 5

    layer = Turning()
    assert layer.supports_masking and not layers.Layer().supports_masking
    for _ in range(2):
        assert layer(torch.tensor([[6.0], [1.0]]))._keras_mask.tolist() == [True, False]
        assert layer(_masked(torch.tensor([True, False])))._keras_mask.tolist() == [False, True]


@pytest.mark.parametrize("named", [False, True])
def test_a_layer_with_several_inputs_gets_their_masks(named):
    class Taking(layers.Layer):
        def call(self, query, context, query_mask=None, context_mask=None):
            self.given = query_mask, context_mask
            return query

    query, context = torch.tensor([True, False]), torch.tensor([False, True])
    layer = Taking()
    layer(_masked(query), **{"context": _masked(context)}) if named else layer(_masked(query), _masked(context))
    assert layer.given[0] is query and layer.given[1] is context


def test_any_number_of_inputs_and_their_masks():
    class Joining(layers.Layer):
        def call(self, *parts, mask=None):
            self.given = mask
            return sum(parts)

    mask = torch.tensor([True, False])
    layer = Joining()
    layer.supports_masking = True
    layer.compute_mask = lambda inputs, masks: None
    layer(torch.ones(2, 3), _masked(mask))
    assert layer.given[0] is None and layer.given[1] is mask


def test_metrics_of_layers_are_found():
    class Measuring(layers.Layer):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.error, self.more = inner, metrics.MeanSquaredError(), [metrics.Mean()]

    layer = Measuring(Measuring(layers.Dense(1)))
    assert len(layer.metrics) == 4 and len(layer.metrics_variables) == 8


class _Noting(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.given = units, kwargs.get("dtype")

    def call(self, inputs):
        return inputs


def test_the_dtype_policy_in_configs():
    layer = _Noting(2, dtype="mixed_bfloat16")
    again = _Noting.from_config(layer.get_config())
    assert again.given == "mixed_bfloat16" and again.get_config() == layer.get_config()
    assert again.compute_dtype == "bfloat16" and again.dtype == "float32"


def test_a_policy_set_on_a_layer_with_a_map_stays_in_the_map():
    policy = DTypePolicyMap()
    layer = layers.Dense(2, dtype=policy)
    layer.build((None, 1))
    for name in ("mixed_bfloat16", "mixed_float16"):
        layer.dtype_policy = name
        assert layer.dtype_policy is policy and policy[layer.path].name == layer._policy().name == name


def test_configs_that_do_not_fit():
    with pytest.raises(ArgumentTypeError, match="input_dim"):
        layers.Embedding.from_config({"input_dim": 3.7, "output_dim": 2})
    with pytest.raises(ArgumentTypeError, match="unit"):
        layers.Dense.from_config({"unit": 3})


def test_a_frozen_layer_has_no_trainable_weights():
    model = models.Sequential([layers.Dense(2), layers.Dense(1)], trainable=False)
    model.build((None, 3))
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == 4
    model.trainable = False
    model.layers[0].trainable = True
    assert model.trainable_weights == [] and len(model.layers[0].trainable_weights) == 2
    model.trainable = True
    assert len(model.trainable_weights) == 4


@pytest.mark.parametrize("trainable", ["yes", 1, None])
def test_trainable_is_true_or_false(trainable):
    with pytest.raises(ArgumentError, match="trainable"):
        layers.Dense(1, trainable=trainable)


def test_weights_are_not_made_in_calls():
    class Forgetful(layers.Layer):
        def call(self, inputs):
            return inputs * self.add_weight(shape=(), name="w")

    with pytest.raises(StateError, match="each call"):
        Forgetful()(torch.ones(2))


def test_arguments_of_add_weight():
    layer = layers.Layer()
    assert layer.add_weight((2,), "ones", "float64").dtype is torch.float64
    with pytest.raises(ArgumentError, match="name='kernel'"):
        layer.add_weight("kernel", shape=(2,))
    with pytest.raises(ArgumentError, match="twice"):
        layer.add_weight((2,), shape=(2,))
    with pytest.raises(ArgumentTypeError):
        layer.add_weight((2,), "ones", "float32", True)


def test_weights_made_later_stand_beside_the_others():
    model = models.Sequential([layers.Dense(2, name="inner")], name="outer")
    model(torch.ones(1, 2))
    model.layers[0].enable_lora(1)
    assert [weight.path for weight in model.weights][-2:] == [
        "outer/inner/lora_kernel_a",
        "outer/inner/lora_kernel_b",
    ]


@pytest.mark.parametrize("names", ["a_shape, b", "a_shape, c_shape"])
def test_arguments_of_build_are_shapes_of_those_of_call(names):
    space = {}
    exec(f"def build(self, {names}): pass\ndef call(self, a, b): return a", space)
    layer = type("Own", (layers.Layer,), {"build": space["build"], "call": space["call"]})()
    with pytest.raises(ArgumentError, match="build"):
        layer(torch.ones(1), torch.ones(1))


def test_values_are_passed_to_symbolic_calls_by_name():
    class Choosing(layers.Layer):
        def call(self, inputs, choice):
            return inputs if choice else -inputs

    x = KerasTensor((2,))
    assert Choosing()(x, choice=False).shape == (2,)
    with pytest.raises(ArgumentError, match="choice=False"):
        Choosing()(x, False)


def test_a_layer_without_call_has_no_output_shape():
    with pytest.raises(NotImplementedError):
        layers.Layer().compute_output_shape((1,))


def test_an_activation_may_be_taken_away():
    layer = layers.Dense(1, activation="relu", kernel_initializer="ones")
    layer.activation = None
    assert float(layer(-torch.ones(1, 2)).detach()) == -2


@pytest.mark.parametrize(
    "arguments",
    [{"shape": (4,)}, {"batch_shape": (2, 4)}, {"batch_size": 3}, {"dtype": "float16"}],
)
def test_an_input_for_a_tensor_does_not_contradict_it(arguments):
    tensor = KerasTensor((2, 3))
    assert layers.InputLayer(shape=(3,), batch_size=2, dtype="float32", input_tensor=tensor).output is tensor
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        layers.InputLayer(input_tensor=tensor, **arguments)
    with pytest.raises(ArgumentError, match="KerasTensor"):
        layers.InputLayer(input_tensor=np.zeros(2))
    with pytest.raises(ArgumentError, match="batch_size"):
        layers.InputLayer(batch_size=2, batch_shape=(2, 3))


def test_masks_of_merged_arrays():
    x, mask = np.ones((2, 3, 4)), np.array([[True, True, False]] * 2)
    for layer in (layers.Add(), layers.Concatenate()):
        assert layer.compute_mask([x, x], [mask, mask]).tolist() == mask.tolist()
        assert layer.compute_mask([x, x], [None, None]) is None
        for inputs, masks in (([x, x], mask), (x, [mask, mask]), ([x, x], [mask])):
            with pytest.raises(ArgumentError, match="masks"):
                layer.compute_mask(inputs, masks)


def test_integer_images_are_interpolated():
    images = torch.tensor([0, 4]).reshape(1, 2, 1, 1)
    assert layers.UpSampling2D((2, 1), interpolation="bilinear")(images).flatten().tolist() == [0, 1, 3, 4]


def test_a_function_from_a_config_with_its_names():
    layer = layers.Lambda(abs)
    config = layers.Lambda(_double).get_config()
    again = layers.Lambda.from_config(config, custom_objects={"_double": _double}, safe_mode=False)
    assert again(torch.ones(1)).tolist() == [2] and layer(-torch.ones(1)).tolist() == [1]


def _double(x):
    return x * 2
