import json
import struct

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.core.errors import ArgumentError, FileError


def make(units=3):
    dense = layers.Dense(units, name="last")
    return lamina.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3, name="first"), layers.Flatten(), dense])


def assert_same(first, second):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("mmap", [False, True])
def test_round_trip(path, mmap):
    first, second = make(), make()
    first.save_weights(path)
    second.load_weights(path, mmap=mmap)
    assert_same(first, second)
    second.compile("sgd", "mse")
    second.fit(np.ones((4, 8, 8, 3)), np.ones((4, 3)), verbose=0)
    third = make()
    third.load_weights(path)
    assert_same(first, third)


def test_opened_by_the_package_itself(path):
    from safetensors.torch import load_file

    model = make()
    model.save_weights(path)
    tensors = load_file(path)
    assert sorted(tensors) == [f"layers/{name}/vars/{index}" for name in ("conv2d", "dense") for index in "01"]
    np.testing.assert_array_equal(tensors["layers/conv2d/vars/0"], model.layers[0].kernel.detach())


def test_names_of_a_state_dict(path):
    from safetensors.torch import save_file

    first, second = make(), make()
    save_file({key: value.contiguous() for key, value in first.state_dict().items()}, path)
    second.load_weights(path)
    assert_same(first, second)
    with pytest.raises(FileError, match=r"expected float32 \(144, 5\), found float32 \(144, 3\)"):
        make(5).load_weights(path)
    with pytest.warns(UserWarning, match=r"expected float32 \(144, 5\)"):
        make(5).load_weights(path, skip_mismatch=True)


def test_optimizer_state_goes_along(path):
    x, y = np.ones((4, 8, 8, 3)), np.ones((4, 3))
    first, second = make(), make()
    for model in (first, second):
        model.compile("adam", "mse")
    first.fit(x, y, verbose=0)
    first.save_weights(path)
    second.optimizer.build(second.trainable_variables)
    second.load_weights(path)
    for model in (first, second):
        model.fit(x, y, verbose=0, shuffle=False)
    assert_same(first, second)


def test_differences_are_named(path):
    make().save_weights(path)
    with pytest.raises(FileError, match=r"dense/vars/0: expected float32 \(144, 5\), found float32 \(144, 3\)"):
        make(5).load_weights(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(FileError, match="another length"):
        make().load_weights(path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("mmap", [False, True])
def test_dtypes(path, dtype, mmap):
    first, second = (lamina.Sequential([layers.Input((4,)), layers.Dense(3, dtype=dtype)]) for _ in range(2))
    first.save_weights(path)
    second.load_weights(path, mmap=mmap)
    assert bool((first.layers[0].kernel == second.layers[0].kernel).all())
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert header["layers/dense/vars/0"]["dtype"] == {"bfloat16": "BF16", "float16": "F16", "float64": "F64"}[dtype]


@pytest.mark.parametrize("ending", ["w.safetensors", "w.weights.h5", "w.keras"])
def test_a_model_without_memory_gets_it_on_the_device(tmp_path, ending):
    first = make()
    (first.save if ending == "w.keras" else first.save_weights)(tmp_path / ending)
    second = make().to("meta")
    second.load_weights(tmp_path / ending, device="cpu")
    assert_same(first, second)
    assert {weight.device.type for weight in second.weights} == {"cpu"}


def test_mmap_is_for_safetensors(tmp_path):
    make().save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ArgumentError, match="mmap"):
        make().load_weights(tmp_path / "w.weights.h5", mmap=True)


def test_mapped_weights_outlive_the_file(path):
    first, second = make(), make()
    first.save_weights(path)
    second.load_weights(path, mmap=True)
    path.unlink()
    assert_same(first, second)
    with torch.no_grad():
        second.layers[-1].kernel.add_(1.0)
    np.testing.assert_allclose(second.get_weights()[2], first.get_weights()[2] + 1.0, rtol=1e-6)
