"""Sequential, functional and subclassed models, as Keras models and as torch modules."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch

import lamina
from lamina import layers, models, ops
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, StateError


def small_cnn():
    return models.Sequential(
        [
            layers.Input(shape=(8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )


def two_inputs():
    a, b = layers.Input(shape=(4,), name="a"), layers.Input(shape=(4,), name="b")
    shared = layers.Dense(3, activation="relu", name="shared")
    merged = layers.Concatenate(name="merged")([shared(a), shared(b)])
    return models.Model([a, b], {"out": layers.Dense(2, name="out")(merged), "sum": ops.add(merged, 1.0)})


class Blocks(models.Model):
    def __init__(self, count=2, **kwargs):
        super().__init__(**kwargs)
        self.blocks = []
        for _ in range(count):
            self.blocks.append(layers.Dense(4, activation="relu"))
        self.heads = {"value": layers.Dense(1)}

    def call(self, x, training=False):
        for block in self.blocks:
            x = block(x)
        return self.heads["value"](x)


def test_sequential_is_built_by_an_input():
    model = small_cnn()
    assert model.output_shape == (None, 3) and model.input_shape == (None, 8, 8, 1)
    assert [weight.path.split("/")[-1] for weight in model.weights[:6]] == [
        "kernel",
        "bias",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    ]
    assert len(model.trainable_weights) == 6 and len(model.non_trainable_weights) == 2


def test_sequential_is_built_by_its_first_call_and_takes_other_batch_sizes():
    model = models.Sequential([layers.Dense(2), layers.Dense(1)])
    assert not model.built
    with pytest.raises(StateError, match="Input"):
        _ = model.output_shape
    assert not any(hasattr(model, name) for name in ("input", "inputs", "input_shape", "outputs", "output_shape"))
    model(np.ones((3, 5)))
    assert model.output_shape == (None, 1)
    assert model(np.ones((7, 5), "float32")).shape == (7, 1)


def test_sequential_add_and_pop():
    model = models.Sequential()
    model.add(layers.Dense(4, input_shape=(3,)))
    model.add(layers.Dense(2))
    assert model.output_shape == (None, 2)
    popped = model.pop()
    assert popped.units == 2 and model.output_shape == (None, 4) and len(model.weights) == 2
    model.add(layers.Dense(7))
    assert model.output_shape == (None, 7) and model(np.ones((2, 3))).shape == (2, 7)
    with pytest.raises(StateError):
        models.Sequential().pop()


@pytest.mark.parametrize(
    ("add", "error", "hint"),
    [
        (lambda m: m.add(lambda x: x), ArgumentError, "Lambda"),
        (lambda m: m.add("dense"), ArgumentError, "layer"),
        (lambda m: m.add(layers.Dense(1, name="same")), ArgumentError, "same"),
        (lambda m: m.add(layers.Input(shape=(3,))), ArgumentError, "first"),
    ],
)
def test_sequential_refuses_what_does_not_fit(add, error, hint):
    model = models.Sequential([layers.Dense(2, name="same")])
    with pytest.raises(error, match=hint):
        add(model)


def test_functional_runs_with_lists_and_dicts():
    model = two_inputs()
    a, b = torch.randn(5, 4), torch.randn(5, 4)
    from_list, from_dict = model([a, b]), model({"b": b, "a": a})
    assert set(from_list) == {"out", "sum"}
    torch.testing.assert_close(from_list["out"], from_dict["out"])
    torch.testing.assert_close(from_list["sum"][:, :3], model.get_layer("shared")(a) + 1)
    with pytest.raises(ArgumentError, match='"a"'):
        model({"aa": a, "b": b})
    with pytest.raises(ArgumentError, match="2: a, b"):
        model([a])


def test_functional_weights_are_counted_once_when_shared():
    model = two_inputs()
    assert model.count_params() == (4 * 3 + 3) + (6 * 2 + 2)
    assert list(model.state_dict()) == ["shared.kernel", "shared.bias", "out.kernel", "out.bias"]


def test_functional_from_the_middle_of_another():
    model = small_cnn()
    features = models.Model(model.layers[0].output, model.layers[3].output)
    assert features(torch.randn(2, 6, 6, 4)).shape == (2, 36)
    whole = models.Model(model.input, [layer.output for layer in model.layers[:2]])
    assert [t.shape for t in whole(torch.randn(2, 8, 8, 1))] == [(2, 6, 6, 4), (2, 6, 6, 4)]


def test_nested_models_and_layers_used_as_functions_of_models():
    inner = small_cnn()
    x = layers.Input(shape=(8, 8, 1))
    model = models.Model(x, layers.Dense(1)(inner(x)))
    assert model.output_shape == (None, 1)
    assert len(model.weights) == len(inner.weights) + 2
    assert model.get_layer(inner.name) is inner


def test_unique_names_are_required():
    x = layers.Input(shape=(2,))
    with pytest.raises(ArgumentError, match="twin"):
        models.Model(x, layers.Dense(2, name="twin")(layers.Dense(2, name="twin")(x)))


def test_disconnected_graph_names_the_input():
    a, b = layers.Input(shape=(2,), name="wanted"), layers.Input(shape=(2,))
    with pytest.raises(ArgumentError, match="wanted"):
        models.Model(b, layers.Add()([a, b]))


def test_subclassed_model_tracks_layers_in_lists_and_dicts():
    model = Blocks()
    assert model(torch.randn(2, 3)).shape == (2, 1)
    assert [name for name, _ in model.named_parameters()][:2] == ["blocks.0.kernel", "blocks.0.bias"]
    assert len(model.layers) == 3
    again = Blocks()
    again.build((None, 3))
    assert again.count_params() == model.count_params()
    with pytest.raises(StateError, match="build"):
        Blocks().count_params()


def test_subclass_that_describes_a_graph_is_functional():
    class Graph(models.Model):
        def __init__(self):
            x = layers.Input((4,))
            super().__init__(inputs=x, outputs=layers.Dense(2)(x))

    assert isinstance(Graph(), models.Functional)
    assert Graph()(torch.randn(3, 4)).shape == (3, 2)


@pytest.mark.parametrize("make", [small_cnn, two_inputs])
@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_compute_the_same_and_are_independent(make, copy_of):
    model = make()
    x = [torch.randn((3, *tensor.shape[1:])) for tensor in model.inputs]
    x = x[0] if len(x) == 1 else x
    other = copy_of(model)
    first, second = model(x), other(x)
    for key in first if isinstance(first, dict) else [...]:
        torch.testing.assert_close(first[key], second[key])
    with torch.no_grad():
        for weight in other.weights:
            weight.add_(1.0)
    again = model(x)
    torch.testing.assert_close(
        again["out"] if isinstance(again, dict) else again, first["out"] if isinstance(first, dict) else first
    )


@pytest.mark.parametrize("make", [small_cnn, two_inputs])
def test_config_round_trip_through_json(make):
    model = make()
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    assert models.model_from_json(model.to_json()).count_params() == model.count_params()


def test_clone_has_weights_of_its_own():
    model = two_inputs()
    clone = models.clone_model(model)
    assert clone.count_params() == model.count_params()
    assert not {id(w) for w in clone.weights} & {id(w) for w in model.weights}
    clone.set_weights(model.get_weights())
    x = [torch.randn(2, 4), torch.randn(2, 4)]
    torch.testing.assert_close(clone(x)["out"], model(x)["out"])


def test_weights_are_set_all_or_none():
    model = small_cnn()
    before = model.get_weights()
    wrong = [np.zeros_like(w) for w in before[:-1]] + [np.zeros(99)]
    with pytest.raises(ShapeError, match="99"):
        model.set_weights(wrong)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ArgumentError, match="8 arrays"):
        model.set_weights(before[:2])


def test_freezing():
    model = small_cnn()
    model.layers[0].trainable = False
    assert len(model.trainable_weights) == 4
    model.trainable = False
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == 8
    model.trainable = True
    assert len(model.trainable_weights) == 6
    assert not any(buffer.requires_grad for buffer in model.buffers())


def test_get_layer_suggests_the_nearest_name():
    with pytest.raises(ArgumentError, match='"conv2d'):
        small_cnn().get_layer("conv2")


# As torch modules.


def test_a_hand_written_torch_loop_trains_it():
    lamina.utils.set_random_seed(0)
    model = models.Sequential([layers.Input(shape=(4,)), layers.Dense(16, activation="relu"), layers.Dense(1)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randn(64, 4)
    y = x.sum(1, keepdim=True)
    losses = []
    model.train()
    for _ in range(100):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_mode_follows_train_and_eval_and_the_training_argument():
    model = models.Sequential([layers.Input(shape=(64,)), layers.Dropout(0.5)])
    x = torch.ones(8, 64)
    assert torch.equal(model(x), x), "models begin in evaluation mode, as calls of Keras models do"
    assert not torch.equal(model(x, training=True), x)
    assert not model.training
    model.train()
    assert not torch.equal(model(x), x)
    assert torch.equal(model(x, training=False), x)
    model.eval()
    assert torch.equal(model(x), x)


def test_torch_modules_are_layers():
    model = models.Sequential([torch.nn.Linear(3, 4), torch.nn.Dropout(0.9), torch.nn.ReLU(), layers.Dense(2)])
    x = torch.randn(5, 3)
    assert torch.equal(model(x), model(x)) and model(x).shape == (5, 2)
    linear = torch.nn.Linear(4, 3)
    a = layers.Input(shape=(4,))
    graph = models.Model(a, layers.Dense(1)(linear(a)))
    assert {id(p) for p in linear.parameters()} <= {id(p) for p in graph.parameters()}

    class Mixed(models.Model):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv1d(2, 3, 1)
            self.out = layers.Dense(1)

        def call(self, x):
            return self.out(self.conv(x))

    assert Mixed()(torch.randn(1, 2, 5)).shape == (1, 3, 1)


def test_hooks_state_dict_and_to():
    model, other = small_cnn(), small_cnn()
    other.load_state_dict(
        {k.replace("conv2d", "conv2d"): v for k, v in zip(other.state_dict(), model.state_dict().values(), strict=True)}
    )
    seen = []
    handle = model.layers[0].register_forward_hook(lambda module, args, output: seen.append(output.shape))
    x = torch.randn(2, 8, 8, 1)
    torch.testing.assert_close(model(x), other(x))
    handle.remove()
    assert seen == [(2, 6, 6, 4)]
    model.to(torch.float64)
    assert model(x.double()).dtype is torch.float64
    assert all(isinstance(w, lamina.Variable) for w in model.weights)
    assert model.layers[0].compute_dtype == "float64"


def test_compile_and_export():
    model = small_cnn()
    x = torch.randn(2, 8, 8, 1)
    expected = model(x)
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


def test_wrong_input_shapes_are_explained():
    with pytest.raises(ShapeError, match="channel axis"):
        models.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 3)])(torch.randn(2, 8, 8))
    dense = models.Sequential([layers.Dense(10, input_shape=(784,))])
    with pytest.raises(ShapeError, match=r"28x28x1 = 784.*Flatten"):
        dense(torch.randn(2, 28, 28, 1))
    graph = models.Model(x := layers.Input((784,)), layers.Dense(10)(x))
    with pytest.raises(ShapeError, match=r"28x28 = 784.*Flatten"):
        graph(torch.randn(2, 28, 28))


def test_summary_is_plain_when_piped(capsys):
    small_cnn().summary(show_trainable=True)
    text = capsys.readouterr().out
    assert "Total params: " in text and "Trainable" in text and "\x1b" not in text
    assert "(None, 6, 6, 4)" in text
    assert max(map(len, text.splitlines())) <= 80
    lines: list[str] = []
    outer = models.Sequential([layers.Input((8, 8, 1)), small_cnn(), layers.Dense(1)])
    outer.summary(expand_nested=True, print_fn=lines.append)
    assert "    flatten" in "\n".join(lines)


def test_deep_models_copy_without_recursion():
    x = y = layers.Input((4,))
    for _ in range(300):
        y = layers.Identity()(y)
    model = models.Model(x, y)
    assert copy.deepcopy(model)(torch.ones(1, 4)).tolist() == [[1.0] * 4]


def test_model_from_config_of_a_graph_with_custom_objects():
    class Mine(layers.Layer):
        def call(self, inputs):
            return inputs * 2

    x = layers.Input((3,))
    config = models.Model(x, Mine()(x)).get_config()
    model = models.Model.from_config(config, custom_objects={"Mine": Mine})
    assert model(torch.ones(1, 3)).tolist() == [[2.0] * 3]


def test_model_of_arrays_is_refused():
    with pytest.raises(ArgumentTypeError, match="symbolic tensors"):
        models.Model(np.zeros(3), np.zeros(3))


def test_a_symbolic_loss_cannot_be_added():
    x = layers.Input((3,))
    with pytest.raises(ArgumentTypeError, match="add_loss"):
        models.Model(x, x * 2).add_loss(x)
