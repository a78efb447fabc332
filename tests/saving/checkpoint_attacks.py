"""Attacks by checkpoints of runs, folders of OrbaxCheckpoint and files of a FeatureSpace; see attacks.py."""

import copy
import io
import json
import os
import pickle
import shutil
import tempfile
import zipfile

import h5py
import numpy as np
from attack_files import OF_CONFIGS, archive, attack, lambda_layer

# Checkpoints of runs, each in a folder of its own. Templates are real ones; what is made of them differs in one place.


def trained(optimizer="adam"):
    """A model that was trained, with slots, seeds and metrics."""
    import torch

    import lamina

    layers = lamina.layers
    made = lamina.Sequential(
        [layers.Input((4,)), layers.Dense(3, name="d"), layers.Dropout(0.5, name="r"), layers.Dense(1, name="e")]
    )
    if optimizer == "torch":
        optimizer = torch.optim.AdamW(made.parameters(), 0.01)
    made.compile(optimizer, "mse", metrics=["mae"])
    return made


def callbacks_of_runs():
    import lamina

    return [lamina.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)]


def resume(made, folder, epochs=4):
    x = np.linspace(0, 1, 32, dtype="f4").reshape(8, 4)
    made.fit(x, x[:, :1], 4, epochs, 0, callbacks=callbacks_of_runs(), resume=folder)


def back_up(made, folder):
    import lamina

    x = np.linspace(0, 1, 32, dtype="f4").reshape(8, 4)
    backup = lamina.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
    made.fit(x, x[:, :1], 4, 2, 0, callbacks=[backup])


KNOWN, VICTIMS = {}, {}


def template(kind):
    """What a real checkpoint holds, which is made once."""
    from lamina.saving.checkpoint import Checkpoints

    if kind not in KNOWN:
        with tempfile.TemporaryDirectory() as folder:
            back_up(trained(), folder) if kind == "backup" else resume(trained(kind), folder, 2)
            state = KNOWN[kind] = Checkpoints(folder).read()
            if kind != "backup":
                state["position"]["is_over"] = False
    return copy.deepcopy(KNOWN[kind])


def edited(state, path, value):
    """The state with another value at a path; DROP leaves it out."""
    parts = path.split("/", 2 if path.startswith("model/tensors/") else -1)
    *above, last = [int(part) if part.isdecimal() else part for part in parts]
    holder = state
    for part in above:
        holder = holder[part]
    if value is DROP:
        del holder[last]
    else:
        holder[last] = value
    return state


DROP = object()


def checkpoint(folder, state):
    from lamina.saving.checkpoint import Snapshot

    folder.mkdir()
    Snapshot(state).write(folder / "00000001.checkpoint")


def checkpoints(folder, kind, edits):
    name = "backup" if kind == "backup" else f"run_{kind}"
    count = 0
    for path, values in edits.items():
        for value in values:
            checkpoint(folder / f"{name}_{count:03}", edited(template(kind), path, value))
            count += 1


NAN, HUGE = float("nan"), 1 << 70
WRONG = (DROP, None, [], {}, "x", 3.5, -1)


@attack("resume")
def checkpoints_of_another_structure(folder, marker):
    parts = ("position", "model", "callbacks", "feed", "generators", "plan", "fingerprint")
    edits = {part: [value for value in WRONG if type(value) is not type(template("adam")[part])] for part in parts}
    edits["validation"] = [DROP, [], {}, "x", -1]
    edits["more"] = [1]
    for name in ("tensors", "optimizers", "metrics", "stop_training", "class"):
        edits[f"model/{name}"] = [DROP, None, 3.5, -1, [1], {"../x": 1}]
    checkpoints(folder, "adam", edits)
    checkpoint(folder / "run_adam_list", [1, 2])
    checkpoint(folder / "run_adam_text", "x")
    checkpoint(folder / "run_adam_backup", template("backup"))


@attack("resume")
def checkpoints_with_counters_that_make_no_sense(folder, marker):
    edits = {f"position/{name}": [-1, NAN, 1.5, HUGE, True, "1", None] for name in ("epoch", "batch", "steps")}
    edits |= {f"position/{name}": [0, None, "x"] for name in ("is_over", "stopped")}
    edits |= {f"feed/{name}": [-1, NAN, HUGE, "x", 10**9] for name in ("done", "taken")}
    edits |= {"feed/learned": [-1, "x"], "feed/source": [{"__class__": 1}, {"x": 1}, []], "position/logs": [[1], 3]}
    edits |= {"callbacks/0": [DROP, {"class": "History"}, {"class": 1, "state": {}}, 3]} | {
        "plan/train": [{}, {"runs": "os.system"}, 3],
        "plan/train/runs": ["always", 1, DROP],
    }
    checkpoints(folder, "adam", {key: value for key, value in edits.items() if key != "callbacks/0"})
    checkpoints(
        folder, "torch", {"callbacks/0/state": [{"wait": "x"}, {"best": "x"}, {"best_weights": [1]}, {"more": 1}, []]}
    )
    steps = template("adam")["model"]["optimizers"]["optimizer"]["variables"][0]
    checkpoints(folder, "sgd", {"model/optimizers/optimizer/variables/0": [steps * 0 - 5]})


@attack("resume")
def checkpoints_with_other_tensors(folder, marker):
    import torch

    shaped = [torch.zeros(3, 4), torch.zeros(4, 3, 1), torch.zeros(4, 3, dtype=torch.float64), np.zeros((4, 3), "f4")]
    edits = {"model/tensors/d.kernel": [DROP, *shaped, None, 1.0, "x", [[1.0]]]}
    edits |= {f"model/tensors/{name}": [torch.zeros(4, 3)] for name in ("../../x", "/etc/passwd", "d.kernel2", "")}
    edits |= {"model/tensors/3": [torch.zeros(1)]}
    slots = "model/optimizers/optimizer"
    edits |= {f"{slots}/variables/2": [DROP, *shaped, None, 1.0], f"{slots}/weights": [None, [3], "x", DROP]}
    edits |= {f"{slots}/class": ["SGD", None, "os.system"], slots: [DROP, None, [], {"class": "Adam"}]}
    edits |= {"model/optimizers/other": [{"class": "NoneType", "weights": [], "variables": []}]}
    edits |= {"model/metrics/0": [DROP, None, {}, {"name": "loss", "variables": 3}, {"name": "loss", "parts": []}]}
    edits |= {"model/metrics/0/variables": [[], [torch.zeros(9)] * 9, [1.0]], "model/metrics/0/name": ["x", 3]}
    checkpoints(folder, "adam", edits)


@attack("resume")
def checkpoints_with_states_of_other_optimizers(folder, marker):
    import torch

    slots = "model/optimizers/optimizer"
    edits = {f"{slots}/iterations": [-1, NAN, "x", DROP], f"{slots}/state": [None, [], {}, {"state": {}}]}
    edits |= {f"{slots}/state/state": [[], {9: {}}, {"x": {}}, {0: {"step": 1}}, {0: 3}]}
    edits |= {f"{slots}/state/state/0/exp_avg": [DROP, None, torch.zeros(2), "x"]}
    edits |= {f"{slots}/state/state/0/step": [torch.tensor(-1.0), torch.tensor(NAN), "x", DROP]}
    edits |= {f"{slots}/state/param_groups": [[], {}, [1], [{}]], f"{slots}/state/param_groups/0/lr": ["x", DROP, []]}
    edits |= {f"{slots}/state/param_groups/0/params": [[0], [], "x"], f"{slots}/state/param_groups/0/betas": [(1,), 3]}
    edits |= {f"{slots}/state/param_groups/0/more": [1]}
    checkpoints(folder, "torch", edits)


@attack("resume")
def checkpoints_with_states_of_generators_that_lead_out_of_memory(folder, marker):
    import torch

    edits = {"generators/numpy/state/pos": [-1, 625, 10**9, HUGE, 1.5, DROP], "generators/numpy": [DROP, {}, None]}
    edits |= {"generators/numpy/state/key": [np.zeros(3, "u4"), np.zeros(624), None]}
    edits |= {"generators/numpy/bit_generator": ["PCG64", "os.system", 3], "generators/torch": [DROP, None, "x"]}
    edits |= {"generators/torch": [torch.zeros(3, dtype=torch.uint8), torch.zeros(5056, dtype=torch.uint8), 1]}
    for name in ("python", "seeds"):
        edits |= {f"generators/{name}/numbers": [np.arange(3), np.zeros(625, "f8"), np.full(625, 1 << 40), [1], DROP]}
        edits |= {f"generators/{name}/version": [9, "x", NAN], f"generators/{name}/normal": ["x", []]}
    edits |= {"generators/more": [1]}
    checkpoints(folder, "adam", edits)
    checkpoints(folder, "backup", {"generators/numpy/state/pos": [10**9], "epoch": [-1, NAN, "x", DROP], "more": [1]})


@attack("resume")
def checkpoints_whose_files_lie(folder, marker):
    from lamina.saving.checkpoint import ARRAYS, STATE

    checkpoint(folder / "good", template("adam"))
    source = folder / "good" / "00000001.checkpoint"
    with zipfile.ZipFile(source) as packed:
        state, arrays = json.loads(packed.read(STATE)), packed.read(ARRAYS)
    content = source.read_bytes()
    source.unlink()
    source.parent.rmdir()

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    tree = state["tree"]["dict"]
    huge = {"dtype": "float32", "shape": [1 << 40], "at": 0, "size": 1 << 42}
    texts = [
        {**state, "format": 2},
        {**state, "format": True},
        {**state, "more": 1},
        {"format": 1, "tree": state["tree"]},
        {**state, "table": {}},
        {**state, "table": [huge, *state["table"][1:]]},
        {**state, "table": [3, *state["table"][1:]]},
        {**state, "table": [*state["table"], {"dtype": "uint8", "shape": [0], "at": len(arrays), "size": 0}]},
        {**state, "tree": {"dict": [*tree, tree[0]]}},
        {**state, "tree": {"dict": [["a", {"tensor": -1}]]}},
        {**state, "tree": {"dict": [[["a"], 1]]}},
        {**state, "tree": {"pickle": "x"}},
        [1],
    ]
    texts = [json.dumps(text) for text in texts]
    deep = json.dumps({**state, "tree": "HERE"}).replace('"HERE"', "[" * 400 + "]" * 400)
    texts += [deep, deep.replace("[" * 400, "[" * 90_000), " " * (40 << 20), '{"format": ' + "9" * 9000 + "}", "[", ""]
    texts += ['{"format": 1, "format": 1}', "[" + "[]," * (2 << 20) + "1]"]
    files = {}
    for index, text in enumerate(texts):
        files[f"text_{index}"] = packed_file({STATE: text, ARRAYS: arrays})
    files["cut"], files["short"], files["nothing"] = content[:-99], content[:3000], b""
    files["pickle"], files["pickled_text"] = pickle.dumps(Evil()), packed_file({STATE: pickle.dumps(Evil())})
    files["member"] = packed_file({STATE: json.dumps(state), ARRAYS: arrays, "data.pkl": pickle.dumps(Evil())})
    files["bomb"] = packed_file({STATE: json.dumps(state), ARRAYS: bytes(300 << 20)}, zipfile.ZIP_DEFLATED)
    for name in ("../../x", str(marker), "a/../../x"):
        files[f"name_{len(files)}"] = packed_file({STATE: json.dumps(state), ARRAYS: arrays, name: "evil"})
    for name, made in files.items():
        (folder / f"run_adam_{name}").mkdir()
        (folder / f"run_adam_{name}" / "00000001.checkpoint").write_bytes(made)
    for name, target in (("link", "/etc/passwd"), ("zero", "/dev/zero"), ("folder", folder)):
        (folder / f"run_adam_{name}").mkdir()
        (folder / f"run_adam_{name}" / "00000001.checkpoint").symlink_to(target)
    (folder / "run_adam_pipe").mkdir()
    os.mkfifo(folder / "run_adam_pipe" / "00000001.checkpoint")
    (folder / "run_adam_inner" / "00000001.checkpoint").mkdir(parents=True)


def packed_file(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(zipfile.ZipInfo(name) if "/" in name else name, content, compression)
    return buffer.getvalue()


# Folders of OrbaxCheckpoint.


@attack("load_model")
def folders_of_checkpoints_that_are_damaged(folder, marker):
    made = trained()
    x = np.ones((4, 4), "f4")
    import lamina

    made.fit(x, x[:, :1], verbose=0, callbacks=[lamina.callbacks.OrbaxCheckpoint(folder / "good")])

    def changed(name):
        shutil.copytree(folder / "good", folder / f"steps_{name}")
        return folder / f"steps_{name}" / "0"

    (shard,) = (folder / "good" / "0").glob("*.weights.h5")
    table = json.loads((folder / "good" / "0" / "model.weights.json").read_text())
    config = json.loads((folder / "good" / "0" / "config.json").read_text())
    names = ["../x.weights.h5", "/etc/passwd", ["..", "x"], 3, "none.weights.h5", None, {"a": 1}]
    for index, name in enumerate(names):
        other = {**table, "weight_map": dict.fromkeys(table["weight_map"], name)}
        (changed(f"shard_{index}") / "model.weights.json").write_text(json.dumps(other))
    for index, text in enumerate(["[]", "{}", '{"weight_map": 3}', "{", "", "[" * 90_000, '{"a": 1, "a": 2}']):
        (changed(f"table_{index}") / "model.weights.json").write_text(text)
        (changed(f"config_{index}") / "config.json").write_text(text)
    kernel = {**config, "config": {**config["config"], "layers": [*config["config"]["layers"], lambda_layer(marker)]}}
    (changed("lambda") / "config.json").write_text(json.dumps(kernel))
    for index, size in enumerate([0, 99, shard.stat().st_size // 2]):
        (changed(f"cut_{index}") / shard.name).write_bytes(shard.read_bytes()[:size])
    with h5py.File(changed("shape") / shard.name, "a") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (1 << 42,), "f4")
    with h5py.File(changed("dtype") / shard.name, "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = np.ones((4, 3), "c8")
    for name in (shard.name, "config.json", "model.weights.json"):
        for kind, target in (("link", "/etc/passwd"), ("zero", "/dev/zero")):
            path = changed(f"{kind}_{name}") / name
            path.unlink()
            path.symlink_to(target)
        path = changed(f"pipe_{name}") / name
        path.unlink()
        os.mkfifo(path)
        (changed(f"missing_{name}") / name).unlink()
    shutil.rmtree(changed("assets") / "assets")
    (folder / "steps_assets" / "0" / "assets").symlink_to("/etc")
    shutil.rmtree(changed("sparse") / "assets")
    (folder / "steps_sparse" / "0" / "assets").mkdir()
    with (folder / "steps_sparse" / "0" / "assets" / "x").open("wb") as file:
        file.truncate(1 << 40)
    changed("newer").with_name("9").symlink_to("/etc")
    changed("file").with_name("7").write_text("no folder")
    shutil.rmtree(folder / "good")


# Files of a FeatureSpace.


def feature(**changes):
    layer = {"module": "keras.layers", "class_name": "Hashing", "config": {"num_bins": 3, "name": "h"}}
    config = {"dtype": "string", "preprocessor": layer, "output_mode": "one_hot", **changes}
    return {"module": SPACES, "class_name": "Feature", "config": config, "registered_name": None}


def space(features=None, build=None, **changes):
    config = {"features": {"a": feature(), "b": feature()} if features is None else features, **changes}
    config = {"output_mode": "concat", "crosses": [], "crossing_dim": 4, **config}
    made = {"module": "keras.utils", "class_name": "FeatureSpace", "config": config, "registered_name": None}
    return made if build is None else {**made, "build_config": build}


def cross(*names, **changes):
    config = {"feature_names": names, "crossing_dim": 4, "output_mode": "one_hot", **changes}
    return {"module": SPACES, "class_name": "Cross", "config": config, "registered_name": None}


SPACES = "keras.src.layers.preprocessing.feature_space"


@attack(*OF_CONFIGS)
def feature_spaces_of_another_structure(folder, marker):
    text = {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}
    system = {"module": "os", "class_name": "system", "config": {"command": f"touch {marker}"}}
    configs = [
        *(space(features=value) for value in ({}, [], [1], "x", 3, {"a": 3}, {"a": "no_kind"}, {"a": ["float"]})),
        *(
            space({"a": feature(preprocessor=value)})
            for value in ("x", None, 3, {}, [], text, system, lambda_layer(marker))
        ),
        *(space({"a": feature(dtype=value)}) for value in ("x", None, 3, "object", {}, "S1000000000")),
        *(space({"a": feature(output_mode=value)}) for value in ("x", None, [], "dict")),
        *(space({"a": feature(more=1)}), space(more=1), space({"a": feature()}, build={"x": {}})),
        *(space({"a": feature()}, build=value) for value in ([], "x", {"a": 3}, {"../a": {}})),
        *(
            space(crosses=value)
            for value in (3, [3], [["a", "x"]], [cross("a", "x")], [cross()], ["ab"], [[["a"], "b"]])
        ),
        *(space(crosses=[cross("a", "b", crossing_dim=value)]) for value in (-1, 0, 1 << 70, "x", 1.5, None, {})),
        *(space(crosses=[cross("a", "b", output_mode=value)]) for value in ("x", None, 3)),
        *(space(output_mode=value) for value in ("x", None, 3, [])),
        *(space({name: feature()}) for name in ("../../x", "/etc/passwd")),
        space(crosses=[["a", "b"]], crossing_dim=None),
        space({"a": "string_hashed"}, hashing_dim=-1),
        space({"a": "string_hashed"}, hashing_dim="x"),
        space({"a": "float_discretized"}, num_discretization_bins=-3),
    ]
    deep = feature()
    for _ in range(200):
        deep = feature(preprocessor=deep)
    for index, config in enumerate([*configs, space({"a": deep})]):
        (folder / str(index)).mkdir()
        archive(folder / str(index) / "a.keras", config)
        (folder / str(index) / "a.json").write_text(json.dumps(config))


# What the attacks are tried on.


def refused_unchanged(path):
    """Training is resumed, or weights are loaded, from a folder; a refusal must leave all of the model as it was."""
    from lamina.core.errors import LaminaError
    from lamina.training.whole_state import read_out

    kind = path.name.split("_")[1] if path.name.startswith("run_") else "adam"
    if kind not in VICTIMS:
        VICTIMS[kind] = trained(kind)
        with tempfile.TemporaryDirectory() as folder:
            resume(VICTIMS[kind], folder, 1)
    victim = VICTIMS[kind]
    before = copy.deepcopy(read_out(victim))
    use = back_up if path.name.startswith("backup") else resume if path.name.startswith("run_") else load_folder
    try:
        use(victim, path)
    except LaminaError:
        assert same(read_out(victim), before), "something was half restored"
        raise


def load_folder(made, path):
    made.load_weights(path)


def same(one, other):
    import torch

    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
