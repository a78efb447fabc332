"""Each error of models, provoked."""

import pytest

import lamina
from lamina import Input, Model, Sequential, layers, quantizers
from lamina.core.errors import ArgumentError, ArgumentTypeError, FileError, StateError
from lamina.graph.node import Operation
from lamina.models import clone_model, graph_config
from lamina.models.quantization import sequences


def small(**options):
    return Sequential([Input((4,)), layers.Dense(3, name="first"), layers.Dense(2, name="last")], **options)


def graph():
    x = Input((4,), name="x")
    return Model(x, layers.Dense(1, name="last")(lamina.ops.relu(layers.Dense(2, name="first")(x))))


class Subclass(Model):
    def call(self, x):
        return x


def damaged(change):
    """A graph's config after a change, read again."""
    config = graph().get_config()
    change(config)
    return Model.from_config(config)


def without_name(config):
    del config["layers"][1]["name"], config["layers"][1]["config"]["name"]


def unknown_op(config):
    next(entry for entry in config["layers"] if "relu" in str(entry["class_name"]).lower())["class_name"] = "Relo"


def unknown_output(config):
    config["output_layers"] = ["last", 7, 0]


def without_tensors(config):
    config["layers"][1]["inbound_nodes"][0]["args"] = [1.0]


def open_graph(config):
    config["layers"][1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["last", 0, 0]


def unnamed_function():
    return graph_config._operation_config(Operation(lambda value: value))


def same_path_twice():
    model = Subclass()
    model.a, model.b = lamina.Variable([1.0], name="same"), lamina.Variable([1.0], name="same")
    return model.get_state_tree()


def gptq(structure=None, dataset=None, tokenizer=None):
    config = quantizers.GPTQConfig(dataset, tokenizer, quantization_layer_structure=structure)
    return small().quantize(config=config)


CASES = {
    "clone a layer": (lambda: clone_model(layers.Dense(1)), ArgumentTypeError, "clone_model()"),
    "clone with options": (lambda: clone_model(Subclass(), clone_function=print), ArgumentError, "leave out"),
    "an input twice": (lambda: Model([x := Input((4,)), x], layers.Dense(1)(x)), ArgumentError, "once"),
    "outputs of numbers": (lambda: Model(Input((4,)), 3.0), ArgumentError, "Input(shape)"),
    "a name missing": (lambda: damaged(without_name), FileError, "get_config"),
    "an unknown op": (lambda: damaged(unknown_op), FileError, 'mean "relu"'),
    "an unknown output": (lambda: damaged(unknown_output), FileError, "no layer makes"),
    "a call without tensors": (lambda: damaged(without_tensors), FileError, "layer 'first'"),
    "an open graph": (lambda: damaged(open_graph), FileError, "never become known"),
    "an unknown torch function": (lambda: graph_config._NamedTorchFunction("ad", "x"), FileError, "the model's config"),
    "a function without name": (unnamed_function, ArgumentError, "lamina.ops"),
    "neither name nor index": (lambda: small().get_layer(), ArgumentError, "get_layer("),
    "an index too large": (lambda: small().get_layer(index=2), ArgumentError, "0 to 1"),
    "an index of text": (lambda: small().get_layer(index="1"), ArgumentError, "0 to 1"),
    "filters": (lambda: small().quantize("int8", filters=3), ArgumentError, "filters="),
    "no structure": (gptq, ArgumentError, "quantization_layer_structure"),
    "no blocks": (lambda: gptq({"sequential_blocks": []}), ArgumentError, "pre_block_layers"),
    "no tokenizer": (lambda: gptq({"sequential_blocks": [1]}), ArgumentError, "GPTQConfig(dataset, tokenizer)"),
    "no texts": (lambda: sequences(None, 2, [], 1), ArgumentError, "dataset"),
    "one text": (lambda: sequences(None, 2, "text", 1), ArgumentTypeError, "iterable"),
    "unknown argument": (lambda: small().quantize("int8", mod=1), ArgumentError, "mode, config, filters"),
    "layers no list": (lambda: Sequential(layers.Dense(1)), ArgumentTypeError, "Sequential([...])"),
    "a class for a layer": (lambda: Sequential([layers.Flatten]), ArgumentError, "make one: Flatten(...)"),
    "a layer twice": (lambda: Sequential([x := layers.Dense(4), x]), ArgumentError, "model 'sequential"),
    "build without layers": (lambda: Sequential().build((None, 4)), StateError, "model.add"),
    "call without layers": (lambda: Sequential()(lamina.ops.ones((2, 4))), StateError, "model.add"),
    "pop without layers": (lambda: Sequential().pop(), StateError, "model.add"),
    "build without shape": (lambda: Sequential([layers.Dense(1)]).build(), ArgumentError, "build((None, features))"),
    "a path twice": (same_path_twice, ArgumentError, "names of their own"),
    "a format": (lambda: small().get_state_tree("numpy_aray"), ArgumentError, '"numpy_array"'),
    "a range of one": (lambda: small().summary(layer_range=["first"]), ArgumentError, '("first", "last")'),
    "a range of others": (lambda: small().summary(layer_range=["frst", "last"]), ArgumentError, 'mean "first"'),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case):
    provoke, kind, words = CASES[case]
    with pytest.raises(kind) as caught:
        provoke()
    assert words in str(caught.value)
