"""Files go both ways between lamina and the real Keras: same predictions, same weights, same training afterwards."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import torch

import lamina

random = np.random.default_rng(0)


def batch(*shape):
    return random.normal(size=shape).astype("float32")


def integers(high, *shape):
    return random.integers(0, high, shape).astype("int32")


def predict(model, data):
    outputs = model.predict(data, verbose=0)
    return outputs if isinstance(outputs, (list, dict)) else [outputs]


def assert_same_predictions(first, second, data):
    found, expected = predict(second, data), predict(first, data)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), [expected[key] for key in found]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def entries(path):
    """What a weights file holds: shapes and dtypes of its arrays, names of its groups."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            path = path.with_suffix(".h5")
            path.write_bytes(archive.read("model.weights.h5"))
    found = {}

    def note(name, item):
        found[name] = (item.shape, str(item.dtype)) if isinstance(item, h5py.Dataset) else None

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def sequential(k):
    return k.Sequential([k.Input((6,)), k.layers.Dense(5, "relu"), k.layers.Dropout(0.5), k.layers.Dense(3)])


def functional(k):
    x = k.Input((6,))
    y = k.layers.Dense(5, activation="tanh", name="first")(x)
    y = k.layers.BatchNormalization()(y)
    y = k.layers.Concatenate()([x, y])
    return k.Model(x, k.layers.Dense(3, kernel_regularizer="l2")(y), name="net")


def shared(k):
    a, b = k.Input((6,), name="a"), k.Input((6,), name="b")
    layer = k.layers.Dense(4, name="shared")
    joined = k.layers.Add()([layer(a), layer(b)])
    return k.Model([a, b], [k.layers.Dense(2)(joined), layer(k.layers.Activation("relu")(a))])


def nested(k):
    inner = k.Sequential([k.Input((6,)), k.layers.Dense(4), k.layers.BatchNormalization()], name="inner")
    x = k.Input((6,))
    z = k.Input((4,))
    deep = k.Model(z, k.layers.Dense(4)(k.layers.Dense(5)(z)), name="deep")
    return k.Model(x, k.layers.Dense(1)(deep(deep(inner(x)))))


def models_in_sequential(k):
    return k.Sequential([k.Input((6,)), sequential(k), k.Sequential([k.layers.Dense(2), k.layers.Dense(2)])])


def named_dicts(k):
    inputs = {"a": k.Input((6,), name="a"), "b": k.Input((3,), name="b")}
    y = k.layers.Concatenate()([inputs["a"], inputs["b"]])
    return k.Model(inputs, {"one": k.layers.Dense(2, name="one")(y), "two": k.layers.Dense(1, name="two")(y)})


def arithmetic(k):
    x = k.Input((6,))
    y = k.layers.Dense(6)(x)
    z = k.ops.relu(y * 2.0 + x) - k.ops.mean(x, axis=-1, keepdims=True)
    return k.Model(x, k.layers.Dense(2)(z))


def convolutions(k):
    return k.Sequential(
        [
            k.Input((8, 8, 3)),
            k.layers.Conv2D(4, 3, padding="same", activation="relu"),
            k.layers.DepthwiseConv2D(3),
            k.layers.MaxPooling2D(),
            k.layers.Flatten(),
            k.layers.Dense(2, activation="softmax"),
        ]
    )


def recurrent(k):
    return k.Sequential(
        [
            k.Input((None,), dtype="int32"),
            k.layers.Embedding(20, 5, mask_zero=True),
            k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True)),
            k.layers.GRU(3),
            k.layers.Dense(1),
        ]
    )


MODELS = {
    sequential: lambda: batch(4, 6),
    functional: lambda: batch(4, 6),
    shared: lambda: [batch(4, 6), batch(4, 6)],
    nested: lambda: batch(4, 6),
    models_in_sequential: lambda: batch(4, 6),
    named_dicts: lambda: {"a": batch(4, 6), "b": batch(4, 3)},
    arithmetic: lambda: batch(4, 6),
    convolutions: lambda: batch(4, 8, 8, 3),
}
if hasattr(lamina.layers, "LSTM"):
    MODELS[recurrent] = lambda: integers(20, 4, 7)

each_model = pytest.mark.parametrize(("build", "data"), MODELS.items(), ids=[build.__name__ for build in MODELS])


@each_model
def test_from_keras_and_back(build, data, tmp_path):
    data = data()
    theirs = build(keras)
    theirs.save(tmp_path / "theirs.keras")
    ours = lamina.saving.load_model(tmp_path / "theirs.keras")
    assert_same_predictions(theirs, ours, data)
    ours.save(tmp_path / "ours.keras")
    assert entries(tmp_path / "ours.keras") == entries(tmp_path / "theirs.keras")
    assert_same_predictions(theirs, keras.saving.load_model(tmp_path / "ours.keras"), data)


@each_model
def test_from_lamina(build, data, tmp_path):
    data = data()
    ours = build(lamina)
    ours.save(tmp_path / "ours.keras")
    theirs = keras.saving.load_model(tmp_path / "ours.keras")
    assert_same_predictions(ours, theirs, data)
    assert_same_predictions(ours, lamina.saving.load_model(tmp_path / "ours.keras"), data)


@each_model
def test_weights_alone(build, data, tmp_path):
    data = data()
    ours, theirs = build(lamina), build(keras)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    assert_same_predictions(theirs, ours, data)
    other = build(keras)
    ours.save_weights(tmp_path / "ours.weights.h5")
    other.load_weights(tmp_path / "ours.weights.h5")
    assert_same_predictions(theirs, other, data)
    assert entries(tmp_path / "ours.weights.h5") == entries(tmp_path / "theirs.weights.h5")


def test_shards_both_ways(tmp_path):
    data = batch(4, 6)
    ours, theirs = functional(lamina), functional(keras)
    size = 200 / 1024**3
    theirs.save_weights(tmp_path / "theirs.weights.json", max_shard_size=size)
    ours.load_weights(tmp_path / "theirs.weights.json")
    assert_same_predictions(theirs, ours, data)
    other = functional(keras)
    ours.save_weights(tmp_path / "ours.weights.json", max_shard_size=size)
    other.load_weights(tmp_path / "ours.weights.json")
    assert_same_predictions(theirs, other, data)


def test_old_h5_weights(tmp_path):
    data = batch(4, 6)
    theirs = functional(keras)
    theirs.save(tmp_path / "theirs.h5")
    for kwargs in ({}, {"by_name": True}):
        ours = functional(lamina)
        ours.load_weights(tmp_path / "theirs.h5", **kwargs)
        if kwargs:
            names = {layer.name for layer in ours.layers} & {layer.name for layer in theirs.layers}
            assert "first" in names
            np.testing.assert_array_equal(
                ours.get_layer("first").get_weights()[0], theirs.get_layer("first").get_weights()[0]
            )
        else:
            assert_same_predictions(theirs, ours, data)


def custom(k, name):
    """The same classes for both packages, registered with each under the same name."""

    class Block(k.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self._inner = k.layers.Dense(units)
            self.outer = k.layers.Dense(units)

        def build(self, input_shape):
            self._inner.build(input_shape)
            self.outer.build((*input_shape[:-1], self.units))
            self.scale = self.add_weight(shape=(self.units,), initializer="ones", name="scale")
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

        def call(self, inputs):
            return self.outer(self._inner(inputs)) * self.scale

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    class Net(k.Model):
        def __init__(self, width=4, **kwargs):
            super().__init__(**kwargs)
            self.width = width
            self.zeta = k.layers.Dense(width)
            self.alpha = [k.layers.Dense(width), [k.layers.Dense(width)], {"x": Block(width)}]
            self._hidden = k.layers.Dense(2)

        def call(self, inputs):
            x = self.zeta(inputs)
            return self._hidden(self.alpha[2]["x"](self.alpha[1][0](self.alpha[0](x))))

        def get_config(self):
            return {**super().get_config(), "width": self.width}

    for cls in (Block, Net):
        k.saving.register_keras_serializable(f"parity_{name}")(cls)
    return Block, Net


def test_subclassed_models(tmp_path):
    data = batch(4, 6)
    _, ours_class = custom(lamina, "subclassed")
    _, theirs_class = custom(keras, "subclassed")
    theirs = theirs_class(width=5)
    theirs(data)
    theirs.save(tmp_path / "theirs.keras")
    ours = lamina.saving.load_model(tmp_path / "theirs.keras")
    assert type(ours) is ours_class and ours.width == 5
    assert_same_predictions(theirs, ours, data)
    ours.save(tmp_path / "ours.keras")
    assert entries(tmp_path / "ours.keras") == entries(tmp_path / "theirs.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    assert type(again) is theirs_class
    assert_same_predictions(theirs, again, data)


def test_custom_layers_in_functional_models(tmp_path):
    data = batch(4, 6)
    ours_class, _ = custom(lamina, "layers")
    theirs_class, _ = custom(keras, "layers")
    x = lamina.Input((6,))
    ours = lamina.Model(x, ours_class(3)(x))
    ours.save(tmp_path / "ours.keras")
    theirs = keras.saving.load_model(tmp_path / "ours.keras")
    assert type(theirs.layers[1]) is theirs_class
    assert_same_predictions(ours, theirs, data)


def with_torch_modules(k):
    class Mixed(k.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.linear = torch.nn.Linear(6, 4)
            self.wrapped = k.layers.TorchModuleWrapper(torch.nn.BatchNorm1d(4))
            self.out = k.layers.Dense(2)

        def call(self, inputs):
            return self.out(self.wrapped(self.linear(inputs), training=False))

    model = Mixed()
    model(batch(4, 6))
    return model


def test_weights_of_torch_modules(tmp_path):
    data = batch(4, 6)
    ours, theirs, other = with_torch_modules(lamina), with_torch_modules(keras), with_torch_modules(keras)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    assert_same_predictions(theirs, ours, data)
    ours.save_weights(tmp_path / "ours.weights.h5")
    other.load_weights(tmp_path / "ours.weights.h5")
    assert_same_predictions(theirs, other, data)


OPTIMIZERS = {
    "SGD": {"learning_rate": 0.1},
    "SGD momentum": {"learning_rate": 0.1, "momentum": 0.9},
    "Adam": {"learning_rate": 0.01},
    "Adam amsgrad": {"learning_rate": 0.01, "amsgrad": True},
    "AdamW": {"learning_rate": 0.01},
    "Adamax": {"learning_rate": 0.01},
    "Nadam": {"learning_rate": 0.01},
    "RMSprop": {"learning_rate": 0.01, "momentum": 0.5, "centered": True},
    "Adagrad": {"learning_rate": 0.1},
    "Adadelta": {"learning_rate": 1.0},
    "Adafactor": {"learning_rate": 0.01},
    "Ftrl": {"learning_rate": 0.1},
    "Lion": {"learning_rate": 0.01},
    "Lamb": {"learning_rate": 0.01},
    "Muon": {"learning_rate": 0.01},
    "SGD averaged": {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5},
    "Adam accumulated": {"learning_rate": 0.01, "gradient_accumulation_steps": 2},
    "AdamW clipped": {"learning_rate": 0.01, "weight_decay": 0.1, "global_clipnorm": 0.1},
}


def optimizer_of(k, name):
    return getattr(k.optimizers, name.split()[0])(**OPTIMIZERS[name])


def train(model, x, y, epochs=3):
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def small(k):
    return k.Sequential([k.Input((6,)), k.layers.Dense(5, "tanh"), k.layers.BatchNormalization(), k.layers.Dense(2)])


def assert_same_weights(first, second, tolerance=2e-5):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("direction", ["from keras", "from lamina"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_continues(name, direction, tmp_path):
    if not hasattr(lamina.optimizers, name.split()[0]):
        pytest.skip("no such optimizer here")
    k, other = (keras, lamina) if direction == "from keras" else (lamina, keras)
    x, y = batch(16, 6), batch(16, 2)
    first = small(k)
    first.compile(optimizer_of(k, name), loss="mse", metrics=["mae"])
    train(first, x, y)
    first.save(tmp_path / "first.keras")
    second = other.saving.load_model(tmp_path / "first.keras")
    assert_same_weights(first, second, 1e-7)
    assert int(np.asarray(second.optimizer.iterations)) == int(np.asarray(first.optimizer.iterations)) > 0
    assert len(second.optimizer.variables) == len(first.optimizer.variables)
    for model in (first, second):
        train(model, x, y)
    assert_same_weights(first, second)
    second.save(tmp_path / "second.keras")
    third = k.saving.load_model(tmp_path / "second.keras")
    for model in (first, third):
        train(model, x, y)
    assert_same_weights(first, third, 2e-4)
    results = [model.evaluate(x, y, verbose=0, return_dict=True) for model in (first, second, third)]
    assert results[0].keys() == results[1].keys()


COMPILED = {
    "names": {"optimizer": "adam", "loss": "mse", "metrics": ["mae"], "weighted_metrics": ["mse"]},
    "schedule": {"loss": "mae"},
    "several": {
        "optimizer": "sgd",
        "loss": {"one": "mse", "two": "mae"},
        "loss_weights": {"one": 2.0, "two": 0.5},
        "metrics": {"one": ["mae"], "two": ["mse", "mae"]},
    },
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_state(name, tmp_path):
    build, data = (named_dicts, MODELS[named_dicts]()) if name == "several" else (small, batch(16, 6))
    targets = {"one": batch(4, 2), "two": batch(4, 1)} if name == "several" else batch(16, 2)
    for k, other in ((keras, lamina), (lamina, keras)):
        arguments = dict(COMPILED[name])
        if name == "schedule":
            schedule = k.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
            arguments["optimizer"] = k.optimizers.Adam(schedule)
            arguments["metrics"] = [k.metrics.MeanSquaredError(name="squares")]
        first = build(k)
        first.compile(**arguments)
        first.fit(data, targets, verbose=0, shuffle=False)
        first.save(tmp_path / "a.keras")
        second = other.saving.load_model(tmp_path / "a.keras")
        expected = first.evaluate(data, targets, verbose=0, return_dict=True)
        found = second.evaluate(data, targets, verbose=0, return_dict=True)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5)
        for model in (first, second):
            model.fit(data, targets, verbose=0, shuffle=False, epochs=3)
        assert_same_weights(first, second)


def test_compile_false(tmp_path):
    theirs = small(keras)
    theirs.compile("adam", "mse")
    train(theirs, batch(16, 6), batch(16, 2))
    theirs.save(tmp_path / "a.keras")
    ours = lamina.saving.load_model(tmp_path / "a.keras", compile=False)
    assert not ours.compiled
    assert_same_weights(theirs, ours, 1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "mixed_bfloat16"])
def test_dtypes(dtype, tmp_path):
    def build(k):
        return k.Sequential([k.Input((6,)), k.layers.Dense(4, dtype=dtype), k.layers.Dense(2, dtype=dtype)])

    data = batch(4, 6)
    for k, other in ((keras, lamina), (lamina, keras)):
        first = build(k)
        first.save(tmp_path / "a.keras")
        second = other.saving.load_model(tmp_path / "a.keras")
        assert second.layers[0].dtype_policy.name == dtype
        tolerance = {"float64": 1e-5}.get(dtype, 2e-2)
        np.testing.assert_allclose(
            second.predict(data, verbose=0), first.predict(data, verbose=0), atol=tolerance, rtol=tolerance
        )


LAYERS = {
    "Dense": (lambda k: k.layers.Dense(3, use_bias=False), (6,)),
    "EinsumDense": (lambda k: k.layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"), (4, 6)),
    "Conv1D": (lambda k: k.layers.Conv1D(3, 3, dilation_rate=2, padding="causal"), (8, 4)),
    "Conv2D": (lambda k: k.layers.Conv2D(4, 3, strides=2, groups=2), (8, 8, 4)),
    "Conv3D": (lambda k: k.layers.Conv3D(3, 2), (4, 4, 4, 2)),
    "Conv1DTranspose": (lambda k: k.layers.Conv1DTranspose(3, 3, strides=2), (8, 4)),
    "Conv2DTranspose": (lambda k: k.layers.Conv2DTranspose(3, 3, strides=2, padding="same"), (6, 6, 4)),
    "Conv3DTranspose": (lambda k: k.layers.Conv3DTranspose(3, 2), (3, 3, 3, 2)),
    "DepthwiseConv1D": (lambda k: k.layers.DepthwiseConv1D(3, depth_multiplier=2), (8, 4)),
    "DepthwiseConv2D": (lambda k: k.layers.DepthwiseConv2D(3), (8, 8, 4)),
    "SeparableConv1D": (lambda k: k.layers.SeparableConv1D(3, 3), (8, 4)),
    "SeparableConv2D": (lambda k: k.layers.SeparableConv2D(3, 3), (8, 8, 4)),
    "BatchNormalization": (lambda k: k.layers.BatchNormalization(momentum=0.9), (6,)),
    "LayerNormalization": (lambda k: k.layers.LayerNormalization(), (6,)),
    "GroupNormalization": (lambda k: k.layers.GroupNormalization(2), (5, 5, 4)),
    "RMSNormalization": (lambda k: k.layers.RMSNormalization(), (6,)),
    "UnitNormalization": (lambda k: k.layers.UnitNormalization(), (6,)),
    "SpectralNormalization": (lambda k: k.layers.SpectralNormalization(k.layers.Dense(3)), (6,)),
    "PReLU": (lambda k: k.layers.PReLU(alpha_initializer="ones"), (6,)),
    "LeakyReLU": (lambda k: k.layers.LeakyReLU(0.2), (6,)),
    "ELU": (lambda k: k.layers.ELU(0.7), (6,)),
    "ReLU": (lambda k: k.layers.ReLU(max_value=0.5, negative_slope=0.1), (6,)),
    "Softmax": (lambda k: k.layers.Softmax(), (6,)),
    "Activation": (lambda k: k.layers.Activation("gelu"), (6,)),
    "LSTM": (lambda k: k.layers.LSTM(3, return_sequences=True), (5, 4)),
    "GRU": (lambda k: k.layers.GRU(3, reset_after=False), (5, 4)),
    "SimpleRNN": (lambda k: k.layers.SimpleRNN(3), (5, 4)),
    "RNN": (lambda k: k.layers.RNN([k.layers.LSTMCell(3), k.layers.GRUCell(2)]), (5, 4)),
    "StackedRNNCells": (lambda k: k.layers.RNN(k.layers.StackedRNNCells([k.layers.LSTMCell(3)] * 1)), (5, 4)),
    "ConvLSTM2D": (lambda k: k.layers.ConvLSTM2D(2, 3), (3, 6, 6, 2)),
    "Bidirectional": (lambda k: k.layers.Bidirectional(k.layers.GRU(3), merge_mode="sum"), (5, 4)),
    "TimeDistributed": (lambda k: k.layers.TimeDistributed(k.layers.Dense(3)), (5, 4)),
    "Normalization": (lambda k: k.layers.Normalization(mean=[1.0] * 6, variance=[2.0] * 6), (6,)),
    "Rescaling": (lambda k: k.layers.Rescaling(0.5, 1.0), (6,)),
    "Dropout": (lambda k: k.layers.Dropout(0.3, seed=4), (6,)),
    "GaussianNoise": (lambda k: k.layers.GaussianNoise(0.3), (6,)),
    "Masking": (lambda k: k.layers.Masking(1.0), (5, 4)),
    "Flatten": (lambda k: k.layers.Flatten(), (5, 4)),
    "Reshape": (lambda k: k.layers.Reshape((2, -1)), (6,)),
    "Permute": (lambda k: k.layers.Permute((2, 1)), (5, 4)),
    "RepeatVector": (lambda k: k.layers.RepeatVector(3), (6,)),
    "Cropping2D": (lambda k: k.layers.Cropping2D(1), (6, 6, 2)),
    "ZeroPadding2D": (lambda k: k.layers.ZeroPadding2D(((1, 2), (0, 1))), (6, 6, 2)),
    "UpSampling2D": (lambda k: k.layers.UpSampling2D(2), (4, 4, 2)),
    "MaxPooling1D": (lambda k: k.layers.MaxPooling1D(2), (6, 2)),
    "AveragePooling2D": (lambda k: k.layers.AveragePooling2D(2, padding="same"), (5, 5, 2)),
    "GlobalAveragePooling2D": (lambda k: k.layers.GlobalAveragePooling2D(keepdims=True), (5, 5, 2)),
    "GlobalMaxPooling1D": (lambda k: k.layers.GlobalMaxPooling1D(), (5, 2)),
    "Identity": (lambda k: k.layers.Identity(), (6,)),
    "ActivityRegularization": (lambda k: k.layers.ActivityRegularization(0.1), (6,)),
}


def in_a_model(k, make, shape):
    x = k.Input(shape)
    return k.Model(x, make(k)(x))


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, tmp_path):
    if not hasattr(lamina.layers, name):
        pytest.skip("no such layer here")
    make, shape = LAYERS[name]
    data = batch(3, *shape)
    theirs = in_a_model(keras, make, shape)
    for weight in theirs.weights:
        weight.assign(np.abs(batch(*weight.shape)) + 0.1)
    theirs.save(tmp_path / "theirs.keras")
    ours = lamina.saving.load_model(tmp_path / "theirs.keras")
    assert_same_predictions(theirs, ours, data)
    ours.save(tmp_path / "ours.keras")
    assert entries(tmp_path / "ours.keras") == entries(tmp_path / "theirs.keras")
    assert_same_predictions(theirs, keras.saving.load_model(tmp_path / "ours.keras"), data)
    fresh = in_a_model(lamina, make, shape)
    fresh.save(tmp_path / "fresh.keras")
    assert_same_predictions(fresh, keras.saving.load_model(tmp_path / "fresh.keras"), data)


ATTENTION = {
    "MultiHeadAttention": lambda k: k.layers.MultiHeadAttention(2, 3, output_shape=5),
    "GroupQueryAttention": lambda k: k.layers.GroupQueryAttention(3, 4, 2),
    "Attention": lambda k: k.layers.Attention(use_scale=True, score_mode="concat"),
    "AdditiveAttention": lambda k: k.layers.AdditiveAttention(),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name, tmp_path):
    if not hasattr(lamina.layers, name):
        pytest.skip("no such layer here")

    def build(k):
        query, value = k.Input((4, 6)), k.Input((5, 6))
        layer = ATTENTION[name](k)
        return k.Model(
            [query, value], layer(query, value) if "Query" in name or "Head" in name else layer([query, value])
        )

    data = [batch(2, 4, 6), batch(2, 5, 6)]
    theirs = build(keras)
    theirs.save(tmp_path / "theirs.keras")
    ours = lamina.saving.load_model(tmp_path / "theirs.keras")
    assert_same_predictions(theirs, ours, data)
    ours.save(tmp_path / "ours.keras")
    assert entries(tmp_path / "ours.keras") == entries(tmp_path / "theirs.keras")
    assert_same_predictions(theirs, keras.saving.load_model(tmp_path / "ours.keras"), data)


def test_metadata(tmp_path):
    sequential(lamina).save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("metadata.json"))["keras_version"] == keras.__version__


def test_folders_both_ways(tmp_path):
    data = batch(4, 6)
    theirs = functional(keras)
    keras.saving.save_model(theirs, tmp_path / "theirs", zipped=False)
    ours = lamina.saving.load_model(tmp_path / "theirs")
    assert_same_predictions(theirs, ours, data)
    lamina.saving.save_model(ours, tmp_path / "ours", zipped=False)
    assert_same_predictions(theirs, keras.saving.load_model(tmp_path / "ours"), data)


# Whole models in the old .h5 format. Keras itself reads back no optimizer state from it, and no losses by name.


def as_trained(k, build):
    model = build(k)
    model.compile(k.optimizers.Adam(0.01), k.losses.Huber(), metrics=[k.metrics.MeanSquaredError(name="q")])
    return model


OLD = [(sequential, (6,), 3), (functional, (6,), 3), (nested, (6,), 1), (models_in_sequential, (6,), 2)]
OLD += [(convolutions, (8, 8, 3), 2)]


@pytest.mark.parametrize(("build", "shape", "width"), OLD)
@pytest.mark.parametrize("direction", ["from keras", "from lamina"])
def test_old_whole_models(build, shape, width, direction, tmp_path):
    first, second = (keras, lamina) if direction == "from keras" else (lamina, keras)
    path, x, y = str(tmp_path / "m.h5"), batch(8, *shape), batch(8, width)
    model = as_trained(first, build)
    model.fit(x, y, verbose=0)
    model.save(path)
    found = second.saving.load_model(path)
    assert_same_predictions(model, found, x)
    if second is lamina and build is not sequential:
        assert int(found.optimizer.iterations) == int(model.optimizer.iterations)
        for one, other in zip(model.optimizer.variables, found.optimizer.variables, strict=True):
            np.testing.assert_allclose(np.asarray(other.detach()), one.numpy(), rtol=1e-6, atol=1e-7)


def test_modes_that_keras_notes():
    """Keras writes the default of `training` into every call; the model's mode counts all the same."""
    x = keras.Input((6, 6, 3))
    y = keras.layers.BatchNormalization()(keras.layers.RandomFlip()(keras.layers.Dropout(0.5)(x)), training=False)
    config = keras.Model(x, y).to_json()
    assert '"training": true' in config and '"training": false' in config
    ours = lamina.models.model_from_json(config)
    assert [node.kwargs.get("training") for node in ours._nodes[1:]] == [None, None, False]
    data = np.abs(batch(2, 6, 6, 3)) + 1
    calm, learning = (np.asarray(ours(data, training=mode).detach()) for mode in (False, True))
    np.testing.assert_allclose(calm, data, rtol=1e-3)
    assert (learning == 0).any()


WRAPPINGS = [lambda y: [y], lambda y: (y,), lambda y: {"a": y}, lambda y: [[y]], lambda y: [y, y]]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_structure_of_outputs(wrap):
    def form(value):
        if isinstance(value, dict):
            return {key: form(part) for key, part in value.items()}
        return [form(part) for part in value] if isinstance(value, (list, tuple)) else "leaf"

    found = []
    for k in (keras, lamina):
        x = k.Input((6,))
        model = k.Model(x, wrap(k.layers.Dense(2)(x)))
        symbols = model(k.Input((6,)))
        data = batch(2, 6)
        results = (model(data), model.predict(data, verbose=0), model.predict_on_batch(data), symbols)
        found.append([*map(form, results), model.output_shape, model.input_shape])
    assert found[0] == found[1]
