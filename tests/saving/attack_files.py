"""What attacks are made of: their list, and files that are as they should be but for one thing."""

import io
import json
import zipfile

import h5py
import numpy as np

ATTACKS = {}
DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2, "name": "d"}, "registered_name": None}


# The entry points that read configs; all others may find nothing wrong with a file whose config alone is bad.
OF_CONFIGS = ("load_model", "convert", "model_from_json", "deserialize", "layers.deserialize")


def attack(*refused_by):
    """An attack that these entry points must refuse: all of those whose names begin so."""

    def note(function):
        ATTACKS[function.__name__] = function, refused_by
        return function

    return note


def evil_code(marker):
    return f"__import__('os').system('touch {marker}')"


# Files.


def weights_file(change=None):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/dense/vars/0"] = np.ones((4, 2), "f4")
        file["layers/dense/vars/1"] = np.ones(2, "f4")
        if change is not None:
            change(file)
    return buffer.getvalue()


def archive(path, config, weights=None, extra=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as packed:
        packed.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "today"}))
        packed.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        packed.writestr("model.weights.h5", weights_file() if weights is None else weights)
        for info, content in extra:
            packed.writestr(info, content)


def sequential(*layers, **compiled):
    entry = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 4]}}
    config = {"name": "s", "layers": [entry, *layers]}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None, **compiled}


def old_file(path, config, training=None):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(config)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training)
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")


def everywhere(folder, config, training=None):
    """A config as a .keras file, a folder, an old file and a JSON text."""
    archive(folder / "a.keras", config)
    (folder / "unpacked").mkdir()
    with zipfile.ZipFile(folder / "a.keras") as packed:
        packed.extractall(folder / "unpacked")
    old_file(folder / "a.h5", config, training)
    (folder / "a.json").write_text(json.dumps(config))


def weights_everywhere(folder, content):
    """A file of weights alone, inside of a model, and as a shard."""
    (folder / "a.weights.h5").write_bytes(content)
    archive(folder / "a.keras", sequential(DENSE), content)
    (folder / "s_00000.weights.h5").write_bytes(content)
    table = {"metadata": {}, "weight_map": {"/layers/dense/vars": "s_00000.weights.h5"}}
    (folder / "s.weights.json").write_text(json.dumps(table))
    (folder / "w.h5").write_bytes(content)


def node(name):
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": [name, 0, 0]}}
    return [{"args": [tensor], "kwargs": {}}]


def functional(*entries, shape=(None, 4)):
    first = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "name": "x",
        "config": {"batch_shape": list(shape), "name": "x"},
        "inbound_nodes": [],
    }
    last = entries[-1]["name"] if entries else "x"
    config = {"name": "f", "layers": [first, *entries], "input_layers": ["x", 0, 0], "output_layers": [last, 0, 0]}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": config}


def lambda_layer(marker):
    import base64
    import marshal

    code = compile(evil_code(marker), "x", "eval")
    text = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": text, "defaults": None, "closure": None}}
    return {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": function}}
