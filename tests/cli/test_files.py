import json

import numpy as np
import pytest
from typer.testing import CliRunner

import lamina
from lamina import layers
from lamina.cli.main import build_app


def run(*arguments):
    return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])


@pytest.fixture
def model():
    x = layers.Input((4,), name="x")
    y = layers.Dense(3, name="hidden", dtype="bfloat16")(x)
    return lamina.Model(x, layers.Dense(2, name="last")(y), name="net")


def test_inspect_shows_layers_and_weights(model, tmp_path):
    model.save(tmp_path / "m.keras")
    shown = run("inspect", tmp_path / "m.keras")
    assert shown.exit_code == 0, shown.output
    for part in (
        "keras_version: 3.15.1",
        "hidden  Dense",
        "units=3",
        "layers/dense_1/0",
        "3 x 2",
        "nothing suspicious",
    ):
        assert part in shown.output
    assert "23 numbers in 4 arrays" in shown.output


def test_inspect_warns_of_code_and_of_foreign_names(model, tmp_path):
    config = json.loads(model.to_json())
    config["config"]["layers"][1]["config"]["activation"] = {"class_name": "__lambda__", "config": {"code": "x"}}
    config["config"]["layers"][2] |= {"module": "os", "class_name": "sys\x1b[31mtem"}
    (tmp_path / "m.json").write_text(json.dumps(config))
    shown = run("inspect", tmp_path / "m.json")
    assert shown.exit_code == 1 and "do not trust" in shown.output
    assert "Python code, which is never loaded" in shown.output and "of module os" in shown.output
    assert "\x1b" not in shown.output


def test_inspect_of_what_is_no_model(tmp_path):
    (tmp_path / "m.keras").write_bytes(b"nothing")
    shown = run("inspect", tmp_path / "m.keras")
    assert shown.exit_code == 1 and "no .keras file" in shown.output
    assert run("inspect", tmp_path / "none.keras").exit_code == 1


@pytest.mark.parametrize("first", ["a.keras", "a.weights.h5", "a.safetensors", "a.weights.json"])
@pytest.mark.parametrize("second", ["b.weights.h5", "b.safetensors"])
def test_convert_weights(model, tmp_path, first, second):
    if first == "a.keras":
        model.save(tmp_path / first)
    else:
        model.save_weights(tmp_path / first, max_shard_size=1.0 if first.endswith("json") else None)
    done = run("convert", tmp_path / first, tmp_path / second)
    assert done.exit_code == 0, done.output
    again = lamina.models.clone_model(model)
    again.load_weights(tmp_path / second)
    for one, other in zip(model.weights, again.weights, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.detach().float(), other.detach().float())


def test_convert_models(model, tmp_path):
    model.save(tmp_path / "m.keras")
    for first, second in (("m.keras", "m.h5"), ("m.h5", "n.keras"), ("n.keras", "n.json")):
        done = run("convert", tmp_path / first, tmp_path / second)
        assert done.exit_code == 0, done.output
    x = np.ones((2, 4), "float32")
    again = lamina.saving.load_model(tmp_path / "n.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    assert lamina.models.model_from_json((tmp_path / "n.json").read_text()).name == "net"
    assert run("convert", tmp_path / "m.h5", tmp_path / "w.safetensors").exit_code == 0


def test_convert_says_what_cannot_be_done(model, tmp_path):
    model.save_weights(tmp_path / "w.safetensors")
    done = run("convert", tmp_path / "w.safetensors", tmp_path / "m.keras")
    assert done.exit_code == 1 and not (tmp_path / "m.keras").exists()
