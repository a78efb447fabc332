import contextlib
import io
import json
import os
import zipfile

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.core.errors import ArgumentError, FileError, LaminaError
from lamina.saving import load_model, register_keras_serializable, save_model
from lamina.saving.archive import CONFIG, METADATA, WEIGHTS

random = np.random.default_rng(0)


def batch(*shape):
    return random.normal(size=shape).astype("float32")


def make():
    return lamina.Sequential([layers.Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)])


def assert_same(first, second, x):
    np.testing.assert_array_equal(first.predict(x, verbose=0), second.predict(x, verbose=0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def rewrite(path, changed=None, config=None, without=()):
    """The same file with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        members[CONFIG] = json.dumps(config(json.loads(members[CONFIG])))
    members |= changed or {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name not in without:
                archive.writestr(name, content)


def test_paths_strings_and_open_files(path):
    model, x = make(), batch(5, 4)
    model.save(path)
    assert_same(model, load_model(path), x)
    assert_same(model, load_model(str(path)), x)
    buffer = io.BytesIO()
    save_model(model, buffer)
    assert_same(model, load_model(io.BytesIO(buffer.getvalue())), x)


def test_names_are_kept(path):
    model = make()
    model.save(path)
    loaded = load_model(path)
    assert loaded.name == model.name and [one.name for one in loaded.layers] == [one.name for one in model.layers]


def test_folder(tmp_path):
    model, x = make(), batch(5, 4)
    folder = tmp_path / "saved"
    for _ in range(2):
        save_model(model, folder, zipped=False)
        assert_same(model, load_model(folder), x)
    assert sorted(os.listdir(folder)) == ["assets", CONFIG, METADATA, WEIGHTS]
    assert os.listdir(tmp_path) == ["saved"]


def test_folder_that_is_something_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(FileError, match="something else"):
        save_model(make(), tmp_path / "mine", zipped=False)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me" and os.listdir(tmp_path) == ["mine"]


def test_training_continues(path):
    x, y = batch(32, 4), batch(32, 2)
    model = make()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    model.save(path)
    loaded = load_model(path)
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations)
    histories = [m.fit(x, y, epochs=3, verbose=0, shuffle=False).history for m in (model, loaded)]
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-6)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_compiled_but_never_trained(path):
    model = make()
    model.compile("adam", "mse")
    model.save(path)
    loaded = load_model(path)
    assert loaded.compiled and int(loaded.optimizer.iterations) == 0
    loaded.fit(batch(8, 4), batch(8, 2), verbose=0)


def test_compile_false(path):
    model = make()
    model.compile("adam", "mse")
    model.fit(batch(8, 4), batch(8, 2), verbose=0)
    model.save(path)
    assert not load_model(path, compile=False).compiled


def test_frozen_layers_stay_frozen(path):
    model = make()
    model.layers[0].trainable = False
    model.save(path)
    loaded = load_model(path)
    assert not loaded.layers[0].trainable and len(loaded.trainable_variables) == 2
    assert_same(model, loaded, batch(3, 4))


def test_plain_torch_modules_in_a_subclass(path):
    @register_keras_serializable("test_models")
    class Mixed(lamina.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.linear = torch.nn.Linear(4, 3)
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)])
            self.out = layers.Dense(2)

        def call(self, x):
            for block in self.blocks:
                x = block(x if block is not self.blocks[0] else self.linear(x))
            return self.out(x)

    model, x = Mixed(), batch(5, 4)
    model(x)
    with torch.no_grad():
        model.blocks[1].running_mean += 1
    model.save(path)
    assert_same(model, load_model(path), x)


def test_a_torch_module_in_two_places(path):
    @register_keras_serializable("test_models")
    class Twice(lamina.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.linear = torch.nn.Linear(4, 4)
            self.all = torch.nn.Sequential(self.linear, torch.nn.ReLU())

        def call(self, x):
            return self.all(x)

    model, x = Twice(), batch(5, 4)
    model(x)
    model.save(path)
    assert_same(model, load_model(path), x)


def test_variables_in_lists(path):
    @register_keras_serializable("test_models")
    class Mixture(layers.Layer):
        def build(self, input_shape):
            self.first = self.add_weight(shape=(input_shape[-1],), name="first")
            self.many = [self.add_weight(shape=(input_shape[-1],), name=f"many{i}") for i in range(3)]

        def call(self, x):
            return x * self.first + sum(self.many)

    model, x = lamina.Sequential([layers.Input((4,)), Mixture()]), batch(5, 4)
    model.layers[0].set_weights([batch(4) for _ in range(4)])
    model.save(path)
    assert_same(model, load_model(path), x)


def test_assets(path):
    @register_keras_serializable("test_models")
    class Words(layers.Layer):
        words = ()

        def call(self, x):
            return x

        def save_assets(self, folder):
            with open(os.path.join(folder, "words.txt"), "w") as file:
                file.write("\n".join(self.words))

        def load_assets(self, folder):
            with open(os.path.join(folder, "words.txt")) as file:
                self.words = tuple(file.read().split("\n"))

    model = lamina.Sequential([layers.Input((4,)), Words()])
    model.layers[0].words = ("a", "b")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        assert "assets/layers/words/words.txt" in archive.namelist()
    assert load_model(path).layers[0].words == ("a", "b")
    save_model(model, path.with_name("folder"), zipped=False)
    assert load_model(path.with_name("folder")).layers[0].words == ("a", "b")


def test_own_variables_in_a_way_of_ones_own(path):
    @register_keras_serializable("test_models")
    class Doubled(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")

        def call(self, x):
            return x * self.scale

        def save_own_variables(self, store):
            store["twice"] = self.scale.numpy() * 2

        def load_own_variables(self, store):
            self.scale.assign(store["twice"] / 2)

    model, x = lamina.Sequential([layers.Input((4,)), Doubled()]), batch(5, 4)
    model.save(path)
    assert_same(model, load_model(path), x)


@pytest.mark.parametrize(
    ("name", "message"),
    [("m", "m.keras"), ("m.pt", "ends in .keras"), ("hf://a/b", "network")],
)
def test_other_formats(name, message):
    with pytest.raises(ArgumentError, match=message):
        save_model(make(), name)
    with pytest.raises((ArgumentError, FileError)):
        load_model(name)


def test_zipped_false_with_a_file_name(path):
    with pytest.raises(ArgumentError, match="folder"):
        save_model(make(), path, zipped=False)


def test_old_arguments(path):
    make().save(path, include_optimizer=True, save_format="keras")
    with pytest.raises(ArgumentError, match="signatures"):
        save_model(make(), path, signatures=1)


def test_overwrite_false(path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    make().save(path, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(FileError, match="exists"):
        make().save(path, overwrite=False)
    assert path.read_bytes() == before


def test_interrupted_save_leaves_the_older_file(path, monkeypatch):
    model = make()
    model.save(path)
    before = path.read_bytes()
    for failure in (KeyboardInterrupt, OSError("disk full")):

        def fail(store, failure=failure):
            raise failure

        monkeypatch.setattr(model.layers[1], "save_own_variables", fail)
        with pytest.raises(failure if isinstance(failure, type) else OSError):
            model.save(path)
        assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_unbuilt_models_are_saved_with_a_warning(path):
    with pytest.warns(UserWarning, match="before it is built"):
        lamina.Sequential([layers.Dense(2)]).save(path)


def test_missing_file(path):
    with pytest.raises(FileError, match="no such file"):
        load_model(path)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_missing_member(path, name):
    make().save(path)
    rewrite(path, without=(name,))
    with pytest.raises(FileError, match=f"lacks {name}"):
        load_model(path)


def test_unknown_class_is_named(path):
    class Secret(layers.Layer):
        def call(self, x):
            return x

    model = lamina.Sequential([layers.Input((4,)), Secret()])
    model.save(path)
    with pytest.raises(FileError, match="Secret") as caught:
        load_model(path)
    assert "register_keras_serializable" in str(caught.value)
    assert_same(model, load_model(path, custom_objects={"Secret": Secret}), batch(2, 4))
    with lamina.saving.custom_object_scope({"Secret": Secret}):
        load_model(path)


def test_a_misspelt_class_gets_a_hint(path):
    make().save(path)

    def misspell(config):
        config["config"]["layers"][1]["class_name"] = "Dense2"
        return config

    rewrite(path, config=misspell)
    with pytest.raises(FileError, match='Did you mean "Dense"'):
        load_model(path)


@pytest.mark.parametrize(
    "found",
    [
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": "touch ran"}, "registered_name": None},
        {"module": "lamina.saving.models", "class_name": "Path", "config": {}, "registered_name": None},
        {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
        {"module": "torch.nn", "class_name": "Linear", "config": {"in_features": 1}, "registered_name": None},
        {"class_name": "__lambda__", "config": {"value": ["4wAAAAA=", None, None]}},
    ],
)
@pytest.mark.parametrize("safe_mode", [True, False])
def test_nothing_outside_the_registry_is_loaded(path, found, safe_mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("layer", "argument"):
        make().save(path)

        def change(config, place=place):
            if place == "layer":
                config["config"]["layers"][1] = found
            else:
                config["config"]["layers"][1]["config"]["activation"] = found
            return config

        rewrite(path, config=change)
        with pytest.raises(FileError):
            load_model(path, safe_mode=safe_mode)
    assert os.listdir(tmp_path) == [path.name]


def test_damaged_config(path):
    make().save(path)
    for content in ("", "{", "[]", '{"class_name": "Sequential"}', '{"a": NaN}'):
        rewrite(path, changed={CONFIG: content})
        with pytest.raises(FileError):
            load_model(path)


def test_mismatch_between_config_and_weights(path):
    make().save(path)

    def widen(config):
        config["config"]["layers"][2]["config"]["units"] = 7
        return config

    rewrite(path, config=widen)
    with pytest.raises(FileError, match=r"layers/dense_1/vars/0: expected float32 \(3, 7\), found float32 \(3, 2\)"):
        load_model(path)


def test_configs_changed_at_random_end_in_our_errors(path):
    model = lamina.Sequential([layers.Input((4,)), layers.Dense(3, activation="relu"), layers.Dropout(0.5)])
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config = archive.read(CONFIG).decode()
    values = [None, -1, 1.5, "text", [], {}, [None], {"class_name": "Dense"}, True, float("nan"), {"config": {}}]

    def places(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield node, key
            if isinstance(node[key], (dict, list)):
                yield from places(node[key])

    count = len(list(places(json.loads(config))))
    for index in range(count):
        for value in random.choice(len(values), 2, replace=False):
            changed = json.loads(config)
            holder, key = list(places(changed))[index]
            holder[key] = values[value]
            rewrite(path, changed={CONFIG: json.dumps(changed)})
            with contextlib.suppress(LaminaError):
                load_model(path)
