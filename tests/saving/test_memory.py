"""Saving and loading take at most 1.2 times the memory of the weights, those themselves included, in every format."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PEAK = Path("/proc/self/clear_refs")
PLACES = {
    "keras": "m.keras",
    "folder": "folder",
    "hdf5": "w.weights.h5",
    "shards": "s.weights.json",
    "safetensors": "w.safetensors",
    "old": "m.h5",
}


def size(name):
    """A figure of this process, in bytes: VmRSS now, VmHWM at most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def growth(call):
    """By how much a call makes the process grow at most, in bytes."""
    PEAK.write_text("5")
    before = size("VmRSS")
    result = call()
    return size("VmHWM") - before, result


def measure(folder):
    import gc
    import warnings

    import lamina

    warnings.simplefilter("ignore")

    def build():
        layers = [lamina.layers.Dense(3600, kernel_initializer="zeros", name=f"d{index}") for index in range(4)]
        return lamina.Sequential([lamina.layers.Input((3600,)), *layers])

    def save(model, kind):
        path = Path(folder, PLACES[kind])
        if kind in ("keras", "old", "folder"):
            model.save(path, **({"zipped": False} if kind == "folder" else {}))
        else:
            model.save_weights(path, **({"max_shard_size": 0.06} if kind == "shards" else {}))
        return path

    model = build()
    for weight in model.weights:
        weight.data.fill_(1.0)
    weights = sum(weight.nbytes for weight in model.weights)
    other, found = build(), {"weights": weights}
    for weight in other.weights:
        weight.data.fill_(0.0)
    tiny = lamina.Sequential([lamina.layers.Input((2,)), lamina.layers.Dense(2)])
    for kind in PLACES:
        path = save(tiny, kind)
        (lamina.saving.load_model if kind in ("keras", "old", "folder") else tiny.load_weights)(path)
    for kind in PLACES:
        saved, path = growth(lambda kind=kind: save(model, kind))
        found[kind] = {"save": saved / weights}
        if kind != "folder":
            found[kind]["load_weights"] = growth(lambda path=path: other.load_weights(path))[0] / weights
            found[kind]["is right"] = all(bool((weight == 1).all()) for weight in other.weights)
            for weight in other.weights:
                weight.data.fill_(0.0)
        if kind in ("keras", "old", "folder"):
            grown, loaded = growth(lambda path=path: lamina.saving.load_model(path))
            found[kind]["load_model"] = grown / weights
        elif kind in ("hdf5", "safetensors", "shards"):
            empty = build().to("meta")
            gc.collect()
            grown, _ = growth(lambda path=path, empty=empty: empty.load_weights(path, device="cpu"))
            found[kind]["onto a device"] = grown / weights
            loaded = empty
        found[kind]["values"] = all(bool((weight == 1).all()) for weight in loaded.weights)
        del loaded
        gc.collect()
    mapped = growth(lambda: other.load_weights(Path(folder, PLACES["safetensors"]), mmap=True))[0]
    found["mapped"] = {"load_weights": mapped / weights}
    return found


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    if not PEAK.exists():
        pytest.skip("the peak of memory can be reset on Linux only")
    paths = [str(Path(__file__).parents[2] / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("memory"))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_sizes_and_values(figures):
    assert figures["weights"] > 200e6
    assert all(figures[kind]["values"] for kind in PLACES)
    assert all(figures[kind].get("is right", True) for kind in PLACES)


@pytest.mark.parametrize("kind", PLACES)
def test_saving_takes_little_beside_the_weights(figures, kind):
    assert figures[kind]["save"] < 0.2


@pytest.mark.parametrize("kind", [kind for kind in PLACES if kind != "folder"])
def test_loading_weights_takes_little_beside_them(figures, kind):
    assert figures[kind]["load_weights"] < 0.2


@pytest.mark.parametrize("kind", ["keras", "old", "folder"])
def test_loading_a_model_takes_its_weights_and_little_more(figures, kind):
    assert figures[kind]["load_model"] < 1.2


@pytest.mark.parametrize("kind", ["hdf5", "safetensors", "shards"])
def test_loading_onto_a_device_takes_the_weights_once(figures, kind):
    assert figures[kind]["onto a device"] < 1.2


def test_mapped_weights_take_nothing_before_they_are_read(figures):
    assert figures["mapped"]["load_weights"] < 0.2


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
