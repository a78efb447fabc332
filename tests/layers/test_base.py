"""What the base layer does for every layer: building, masks, losses, configs, modes."""

import copy
import sys

import numpy as np
import pytest
import torch

from lamina import layers, models
from lamina.core import tree
from lamina.core.errors import ArgumentError, ShapeError, StateError
from lamina.graph.tensor import KerasTensor


class Scale(layers.Layer):
    def __init__(self, start=1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, inputs, training=None):
        if training:
            self.seen.assign_add(1.0)
        return inputs * self.factor * self.start


def test_custom_layer_needs_no_get_config_and_no_output_shape():
    layer = Scale(2.0, name="scale")
    assert layer(KerasTensor((None, 3))).shape == (None, 3)
    assert layer.get_config()["start"] == 2.0
    assert Scale.from_config(layer.get_config()).start == 2.0
    assert [w.path for w in layer.weights] == ["scale/factor", "scale/seen"]
    assert list(layer.state_dict()) == ["factor", "seen"]
    assert [name for name, _ in layer.named_parameters()] == ["factor"]


def test_a_constructor_without_kwargs_round_trips():
    class Bare(layers.Layer):
        def __init__(self, units):
            super().__init__(name="given")
            self.dense = layers.Dense(units)

        def call(self, x):
            return self.dense(x)

    again = Bare.from_config(Bare(3).get_config())
    assert again.dense.units == 3 and again.name == "given"


def test_own_get_config_decides_about_its_own_arguments():
    class Own(layers.Layer):
        def __init__(self, function, size, **kwargs):
            super().__init__(**kwargs)
            self.size = size

        def get_config(self):
            return {**super().get_config(), "size": self.size}

    assert "function" not in Own(print, 3).get_config()


def test_weights_made_in_init_and_under_other_names():
    class Early(layers.Layer):
        def __init__(self):
            super().__init__()
            self.w = self.add_weight(shape=(2, 2), initializer="ones", name="kernel")
            self.more = [self.add_weight(shape=(1,), name="extra") for _ in range(2)]

        def call(self, x):
            return x @ self.w

    layer = Early()
    assert list(layer.state_dict()) == ["w", "more.0", "more.1"]
    assert layer(torch.ones(1, 2)).tolist() == [[2.0, 2.0]]


def test_build_leaves_nothing_behind_when_it_fails():
    class Fails(layers.Layer):
        def build(self, input_shape):
            self.a = self.add_weight(shape=(2,), name="a")
            raise RuntimeError("no")

    layer = Fails()
    with pytest.raises(RuntimeError, match="no"):
        layer.build((None, 2))
    assert not layer.built and layer.weights == []


def test_several_inputs_get_their_shapes_by_name():
    class Attend(layers.Layer):
        def build(self, query_shape, value_shape):
            self.shapes = (query_shape, value_shape)

        def call(self, query, value):
            return query + value.sum()

    layer = Attend()
    layer(torch.ones(2, 3), value=torch.ones(2, 5))
    assert layer.shapes == ((2, 3), (2, 5))
    assert set(layer.get_build_config()["shapes_dict"]) == {"query_shape", "value_shape"}


def test_unknown_shapes_reach_sublayers_as_unknown():
    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = layers.Dense(2)

        def call(self, x):
            return self.inner(x)

    layer = Outer()
    layer(layers.Input(shape=(None, 5)))
    assert layer.inner.get_build_config() == {"input_shape": (None, None, 5)}


def test_compute_output_shape_leaves_an_unbuilt_layer_unbuilt():
    layer = Scale()
    assert layer.compute_output_shape((None, 7)) == (None, 7)
    assert not layer.built and layer.weights == []


def test_masks_travel_and_are_not_lost_silently():
    class Sees(layers.Layer):
        def call(self, x, mask=None):
            self.got = mask
            return x * 2

    ids = np.array([[1, 2, 0]])
    embedded = layers.Embedding(3, 2, mask_zero=True)(ids)
    assert embedded._keras_mask.tolist() == [[True, True, False]]
    layer = Sees()
    with pytest.warns(UserWarning, match="drops the mask"):
        layer(embedded)
    assert layer.got.tolist() == [[True, True, False]]
    assert layers.Dropout(0.1)(embedded)._keras_mask.tolist() == [[True, True, False]]


def test_further_masks_go_to_the_arguments_that_ask():
    class Two(layers.Layer):
        supports_masking = True

        def call(self, query, value, query_mask=None, value_mask=None):
            self.got = query_mask, value_mask
            return query

    masked = layers.Embedding(3, 2, mask_zero=True)(np.array([[1, 0]]))
    layer = Two()
    layer.supports_masking = True
    layer(torch.ones(1, 2, 2), masked)
    assert layer.got[0] is None and layer.got[1].tolist() == [[True, False]]


def test_losses_belong_to_the_latest_call():
    class Penalised(layers.Layer):
        def call(self, x):
            self.add_loss(x.mean())
            return x

    layer = Penalised()
    model = models.Sequential([layers.Input((2,)), layer, layers.Dense(1, kernel_regularizer="l2")])
    for value in (1.0, 3.0):
        model(torch.full((1, 2), value))
        assert len(model.losses) == 2
        assert float(model.losses[0].detach()) == value
    twice = models.Model(x := layers.Input((2,)), layer(layer(x)))
    twice(torch.ones(1, 2))
    assert len(twice.losses) == 2


def test_activity_regularizer_is_divided_by_the_batch():
    layer = layers.Dense(1, kernel_initializer="ones", activity_regularizer="l2")
    layer(torch.ones(4, 3))
    assert float(layer.losses[0].detach()) == pytest.approx(0.01 * 9.0)


@pytest.mark.parametrize("bad", [{"unit": 3}, {"inputshape": (3,)}])
def test_unknown_arguments_name_the_nearest(bad):
    with pytest.raises(ArgumentError, match="Did you mean"):
        layers.Dense(3, **bad)


def test_weights_need_known_sizes():
    with pytest.raises(ShapeError, match="known"):
        layers.Dense(2)(layers.Input(shape=(None,)))


def test_arrays_are_cast_and_land_on_the_device():
    layer = layers.Dense(2)
    assert layer(np.ones((3, 4))).dtype is torch.float32
    assert layers.Dense(2, dtype="float64")(np.ones((3, 4), "float32")).dtype is torch.float64
    assert layers.Dense(2, dtype="mixed_bfloat16")(np.ones((3, 4))).dtype is torch.bfloat16
    assert layers.Flatten()(np.arange(4).reshape(2, 2)).dtype is torch.int64


def test_an_input_and_an_output_exist_only_in_a_graph():
    with pytest.raises(StateError, match="Input"):
        _ = layers.Dense(1).output
    layer = layers.Dense(1)
    layer(layers.Input((3,)))
    assert layer.input_shape == (None, 3) and layer.output_shape == (None, 1)


def test_containers_can_be_changed_later():
    class Grows(layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = []
            self.table = {}

        def call(self, x):
            for part in [*self.parts, *self.table.values()]:
                x = part(x)
            return x

    layer = Grows()
    layer.parts.append(layers.Dense(2))
    layer.table["a"] = layers.Dense(3)
    layer(torch.ones(1, 4))
    assert len(list(layer.parameters())) == 4
    copied = copy.deepcopy(layer)
    copied.parts.append(layers.Dense(2))
    copied(torch.ones(1, 4))
    assert len(list(layer.parameters())) == 4 and len(list(copied.parameters())) == 6
    layer.parts.pop()
    assert len(list(layer.parameters())) == 2


def test_state_replaced_from_outside_is_what_the_call_reads():
    layer = layers.Dense(1, use_bias=False)
    layer(torch.ones(1, 2))
    layer.kernel = torch.nn.Parameter(torch.full((2, 1), 10.0))
    assert layer(torch.ones(1, 2)).item() == 20.0


def frames(function, *args):
    """How many Python frames a call opens."""
    count = 0

    def profile(frame, event, arg):
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return count


def test_a_layer_costs_at_most_three_frames_more_than_torch():
    x = torch.ones(2, 4)
    ours = models.Sequential([layers.Input((4,)), *(layers.Dense(4, activation="relu") for _ in range(5))])
    theirs = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(5)))
    ours(x)
    assert (frames(ours, x) - frames(theirs, x)) / 5 <= 3


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(np.int64(2)),
        layers.Conv2D(np.int64(2), np.int64(3), strides=np.int64(1)),
        layers.MaxPooling1D(np.int32(2)),
        layers.UpSampling2D(np.int64(2)),
        layers.ZeroPadding2D(np.int64(1)),
        layers.Cropping1D(np.int64(1)),
        layers.RepeatVector(np.int64(3)),
        layers.PReLU(shared_axes=np.int64(1)),
        layers.LayerNormalization(axis=np.int64(-1)),
        layers.GroupNormalization(np.int64(2)),
        layers.Embedding(np.int64(4), np.int64(3)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_numpy_integers_are_integers(layer):
    assert not any(isinstance(value, np.generic) for value in tree.flatten(layer.get_config()))


def test_init_without_super_is_named():
    class Forgets(layers.Layer):
        def __init__(self):
            self.units = 3

        def call(self, inputs):
            return inputs

    with pytest.raises(StateError, match=r"Forgets.__init__(.|\n)*super\(\).__init__"):
        Forgets()(np.ones((2, 3)))


def test_told_not_to_train_a_model_tells_layers_that_begin_in_training():
    """Layers for images begin in training mode, a model does not."""
    x = torch.arange(12.0).reshape(1, 2, 2, 3)
    inputs = layers.Input((2, 2, 3))
    model = models.Model(inputs, layers.RandomFlip(seed=1)(inputs))
    assert all(torch.equal(model(x, training=False), x) for _ in range(20))
    assert not all(torch.equal(model(x), x) for _ in range(20))
