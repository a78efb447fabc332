"""Data on its way into a model: rank, dtype, names, None; and models that are made anew from others."""

import numpy as np
import pytest
import torch

import lamina
from lamina import layers, models
from lamina.core.errors import ArgumentError


def both(*stack, **options):
    """The same layers as a Sequential and as a graph."""
    x = y = layers.Input(**options)
    for layer in stack:
        y = layer(y)
    return models.Sequential([layers.Input(**options), *stack]), models.Model(x, y)


def test_a_last_axis_of_one_may_be_left_out():
    x = np.arange(6.0, dtype="float32")
    for model in both(layers.Dense(1), shape=(1,)):
        np.testing.assert_allclose(model(x).detach(), model(x[:, None]).detach())
        model.compile("sgd", loss="mse")
        model.fit(x, 2 * x, verbose=0)
        assert model.predict(x, verbose=0).shape == model.predict_on_batch(x).shape == (6, 1)
        model.train_on_batch(x, 2 * x)
    for model in both(layers.Dense(2), shape=(3,)):
        assert model(torch.ones(5, 3, 1)).shape == (5, 2)


@pytest.mark.parametrize("model", both(layers.Lambda(lambda x: x * 2), shape=(2,)))
def test_data_takes_the_dtype_of_the_input(model):
    x = np.full((4, 2), 200, "uint8")
    for _ in range(3):
        assert model(x).dtype is torch.float32 and float(model(x).max()) == 400
    assert model.predict(x, verbose=0).max() == 400
    half = models.Model(a := layers.Input((2,), dtype="float16"), a + 1)
    assert half(np.ones((1, 2))).dtype is torch.float16
    whole = models.Model(a := layers.Input((2,), dtype="int32"), a + 1)
    assert not whole(np.ones((1, 2))).is_floating_point()


def test_an_embedding_gets_its_integers_untouched():
    for model in both(layers.Embedding(5, 2), shape=(3,)):
        assert model(np.array([[0, 1, 4]])).shape == (1, 3, 2)


def test_masks_are_kept():
    _, model = both(layers.Lambda(lambda x: x), shape=(3,), dtype="float32")
    x = torch.ones(2, 3, dtype=torch.int32)
    x._keras_mask = torch.ones(2, 3, dtype=torch.bool)
    assert model._admit([x])[0]._keras_mask is x._keras_mask


class Sum(layers.Layer):
    def call(self, x, y=None):
        return x if y is None else x + y

    def compute_output_shape(self, x_shape, y_shape=None):
        return x_shape


def optional_second(optional):
    x, y = layers.Input((2,), name="x"), layers.Input((2,), name="y", optional=optional)
    return models.Model({"x": x, "y": y}, layers.Dense(1)(Sum()(x, y)))


def test_optional_inputs():
    model = optional_second(True)
    ones = np.ones((4, 2))
    model.compile("sgd", loss="mse")
    for y in (None, ones):
        data = {"x": ones, "y": y}
        model.fit(data, np.ones((4, 1)), verbose=0)
        assert model.predict(data, verbose=0).shape == (4, 1)
    with pytest.raises(ArgumentError, match='"y" is None'):
        optional_second(False)({"x": ones, "y": None})


def test_nested_and_spare_names():
    a, b = layers.Input((1,)), layers.Input((2,))
    model = models.Model({"a": a, "more": {"b": b}}, {"a": a * 2, "more": {"b": b * 3}})
    out = model({"a": np.ones((1, 1)), "more": {"b": np.ones((1, 2)), "c": 0}})
    assert out["more"]["b"].tolist() == [[3.0, 3.0]]
    with pytest.raises(ArgumentError, match="'more'.*'b'"):
        model({"a": np.ones((1, 1)), "more": {}})
    flat = models.Model({"a": a}, a * 2)
    with pytest.warns(UserWarning, match="no input for spare"):
        flat({"a": np.ones((1, 1)), "spare": np.ones((1, 1))})


def test_a_list_for_a_dict_out_of_order_is_refused():
    a, b = layers.Input((2,)), layers.Input((2,))
    ones = np.ones((1, 2))
    assert models.Model({"a": a, "b": b}, a - b)([ones, 0 * ones]).tolist() == [[1.0, 1.0]]
    with pytest.raises(ArgumentError, match="dict"):
        models.Model({"b": a, "a": b}, a - b)([ones, 0 * ones])


@pytest.mark.parametrize("kind", [list, tuple])
def test_the_kind_of_outputs_survives_a_config(kind):
    x = layers.Input((3,))
    model = models.Model(x, kind([layers.Dense(1)(x), layers.Dense(2)(x)]))
    assert type(type(model).from_config(model.get_config())(np.ones((1, 3)))) is kind


class Noted(models.Model):
    def __init__(self, *args, note="", **kwargs):
        super().__init__(*args, **kwargs)
        self.note = note

    def get_config(self):
        return {**super().get_config(), "note": self.note}


class Scaled(models.Model):
    def __init__(self, inputs, outputs, factor=1.0, name=None):
        super().__init__(inputs, outputs, name=name)
        self.factor = factor


@pytest.mark.parametrize(("cls", "own"), [(Noted, {"note": "here"}), (Scaled, {"factor": 3.0})])
def test_subclasses_made_of_a_graph_are_revived(cls, own, tmp_path):
    x = layers.Input((3,))
    model = cls(inputs=x, outputs=layers.Dense(2)(x), **own)
    again = cls.from_config(model.get_config())
    assert type(again) is cls and again(np.ones((1, 3))).shape == (1, 2)
    assert {key: getattr(again, key) for key in own} == own
    model.save(tmp_path / "model.keras")
    loaded = lamina.saving.load_model(tmp_path / "model.keras", custom_objects={cls.__name__: cls})
    assert {key: getattr(loaded, key) for key in own} == own
    np.testing.assert_allclose(loaded(np.ones((1, 3))).detach(), model(np.ones((1, 3))).detach())


def test_copies_are_compiled_with_state_of_their_own():
    metric = lamina.metrics.MeanAbsoluteError()
    model = both(layers.Dense(1), shape=(3,))[1]
    model.compile(lamina.optimizers.Adam(0.5), loss="mse", metrics=[metric])
    copy = models.clone_model(model)
    assert copy.compiled and float(copy.optimizer.learning_rate) == 0.5
    x, y = np.ones((4, 3)), np.ones((4, 1))
    copy.fit(x, y, verbose=0)
    assert not model.optimizer.built and float(metric.result()) == 0
    model.compile(torch.optim.SGD(model.parameters(), lr=0.1), loss="mse")
    assert not models.clone_model(model).compiled
    x, y = layers.Input((2,)), layers.Input((2,))
    with pytest.raises(ArgumentError):
        models.clone_model(models.Model({"x": x, "y": y}, x + y), input_tensors=(x, y))


def test_layers_cannot_be_set():
    class Own(models.Model):
        def __init__(self):
            super().__init__()
            self.layers = []

    with pytest.raises(AttributeError, match=r"self\.blocks"):
        Own()
    with pytest.raises(AttributeError):
        models.Sequential().layers = []


def test_a_layer_that_cannot_tell_its_shape():
    class Dynamic(layers.Layer):
        def call(self, inputs):
            return inputs + 1

        def compute_output_spec(self, *args, **kwargs):
            raise NotImplementedError

    model = models.Sequential([Dynamic(), layers.Dense(1)])
    assert model(np.ones((3, 2))).shape == (3, 1)
    assert not hasattr(model, "output_shape")
    model.summary(print_fn=lambda text: None)


def test_state_tree():
    model = models.Sequential([layers.Input((2,)), layers.Dense(1, name="last")], name="seq")
    model.compile("adam", loss="mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    tree = model.get_state_tree("numpy_array")
    assert tree.keys() >= {"trainable_variables", "optimizer_variables", "metrics_variables"}
    assert isinstance(tree["trainable_variables"]["seq"]["last"]["kernel"], np.ndarray)
    model.set_state_tree({"trainable_variables": {"seq": {"last": {"bias": np.array([7.0])}}}})
    assert float(model.weights[1]) == 7.0
    with pytest.raises(ArgumentError, match="bies"):
        model.set_state_tree({"trainable_variables": {"seq": {"last": {"bies": 1}}}})
    with pytest.raises(ArgumentError, match="unknown part"):
        model.set_state_tree({"weights": {}})
    with pytest.raises(ArgumentError, match="format"):
        model.get_state_tree("list")


def test_summary_of_a_subclass_shows_the_shapes_it_was_called_with():
    class Own(models.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = layers.Dense(5), layers.Dense(2)

        def call(self, x):
            return self.second(self.first(x))

    text: list[str] = []
    model = Own()
    model.summary(print_fn=text.append)
    assert "?" in text[0] and "(8, 5)" not in text[0]
    model(np.ones((8, 3)))
    model.summary(print_fn=text.append)
    assert "(8, 5)" in text[1] and "(8, 2)" in text[1]
