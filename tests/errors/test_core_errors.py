"""Each error of the lowest floor and of the graph, provoked."""

import numpy as np
import pytest
import torch

import lamina
from lamina import layers, ops, tree
from lamina.core import config, dtypes, policies, registry, serialization, text
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DTypeError,
    FileError,
    LaminaError,
    ShapeError,
    StateError,
    UnsupportedError,
    check_number,
    check_type,
)
from lamina.core.limits import Limits, claim, loading
from lamina.core.policies import DTypePolicyMap, QuantizedDTypePolicy, QuantizedFloat8DTypePolicy
from lamina.core.settings import Config
from lamina.core.variable import Variable
from lamina.graph import node
from lamina.graph.op import broadcast_shapes
from lamina.graph.operation import Function


class Unready(lamina.Layer):
    def call(self, x):
        return x if x.sum() > 0 else -x


class Silent(lamina.Layer):
    def call(self, x):
        self.seen = x.shape


def symbol(*shape):
    return lamina.KerasTensor(shape)


def with_limit(value, monkeypatch):
    monkeypatch.setenv("LAMINA_LIMIT", value)
    config._limit("LAMINA_LIMIT")


def policy_map(**policies):
    made = DTypePolicyMap()
    for path, policy in policies.items():
        made[path] = policy
    return made


def assigned_twice():
    policy_map(a="float16")["a"] = "float32"


def claimed():
    with loading(Limits(memory=10)):
        claim(11, "variable 'kernel'")


def load_within(config, **limits):
    serialization.deserialize_keras_object(config, limits=Limits(**limits))


def special(class_name, **config):
    return serialization.deserialize_keras_object({"class_name": class_name, "config": config})


def twice_named():
    x = lamina.Input((2,))
    return Function(x, layers.Dense(2, name="a")(layers.Dense(2, name="a")(x)))


class Plain:
    pass


CASES = {
    "default dtype": (lambda: config.set_floatx("flaot32"), ArgumentError, 'mean "float32"'),
    "layout": (lambda: config.set_image_data_format("chanels_last"), ArgumentError, 'mean "channels_last"'),
    "no layout": (lambda: config.set_image_data_format(None), ArgumentError, "channels_first"),
    "epsilon": (lambda: config.set_epsilon("small"), ArgumentTypeError, "set_epsilon(value)"),
    "engine": (lambda: config.set_backend("jax"), ArgumentError, "leave the call out"),
    "dtype": (lambda: dtypes.standardize_dtype("flaot32"), DTypeError, "received: 'flaot32'"),
    "dtype of text": (lambda: dtypes.torch_dtype("string"), DTypeError, "StringLookup"),
    "number": (lambda: check_number("3", "fit(epochs=...)"), ArgumentTypeError, "a whole number"),
    "truth value": (lambda: check_number(True, "fit(epochs=...)"), ArgumentTypeError, "True (bool)"),
    "fraction": (lambda: check_number(1.5, "fit(epochs=...)"), ArgumentTypeError, "fit(epochs=...)"),
    "small number": (lambda: check_number(0, "fit(epochs=...)", least=1), ArgumentError, "at least 1"),
    "type": (lambda: check_type(3, str, "name", "text"), ArgumentTypeError, "3 (int)"),
    "memory": (claimed, FileError, "limits=lamina.saving.Limits(memory=...)"),
    "objects": (
        lambda: load_within({"class_name": "__ellipsis__", "config": {}}, objects=0),
        FileError,
        "limits=lamina.saving.Limits(objects=...)",
    ),
    "depth": (lambda: load_within([[[[]]]], depth=2), FileError, "limits=lamina.saving.Limits(depth=...)"),
    "policy's name": (lambda: policies.DTypePolicy("mixed_float17"), ArgumentError, 'mean "mixed_float16"'),
    "policy no name": (lambda: policies.DTypePolicy(3), DTypeError, "received: 3"),
    "no policy": (lambda: policies.get(7), ArgumentError, "received: 7"),
    "policy's config": (lambda: policies.get({"a": 1}), ArgumentTypeError, "config of a DTypePolicy"),
    "default policy": (lambda: policies.set_dtype_policy(None), ArgumentError, "set_dtype_policy"),
    "mode": (lambda: QuantizedDTypePolicy("int9", "float32"), ArgumentError, 'mean "int8"'),
    "mode in float16": (lambda: QuantizedDTypePolicy("int8", "float16"), ArgumentError, "mixed_bfloat16"),
    "mode without numbers": (lambda: policies.get("gptq/four/128_from_float32"), ArgumentError, "with integers"),
    "mode out of range": (lambda: policies.get("gptq/3.5/1_from_float32"), ArgumentError, "mode"),
    "bits": (lambda: policies.get("gptq/7/128_from_float32"), ArgumentError, "Invalid"),
    "history": (
        lambda: QuantizedFloat8DTypePolicy("float8", "float32", amax_history_length="long"),
        ArgumentTypeError,
        "amax_history_length",
    ),
    "mode without source": (lambda: policies.get("int8_from"), ArgumentError, "<mode>_from_<source>"),
    "map in a map": (lambda: DTypePolicyMap(DTypePolicyMap()), ArgumentError, "default_policy=map.default_policy"),
    "map of a list": (lambda: DTypePolicyMap(policy_map=["float32"]), ArgumentTypeError, "a dict of policies"),
    "two patterns": (
        lambda: policy_map(**{"a.*": "float16", ".*b": "float32"})["ab"],
        ArgumentError,
        "a key of its own",
    ),
    "taken path": (assigned_twice, ArgumentError, "del map['a']"),
    "assigned policy": (lambda: policy_map(a="flaot"), ArgumentError, "DTypePolicyMap['a']"),
    "decorator": (lambda: registry.register_keras_serializable(Plain), ArgumentTypeError, "parentheses"),
    "class to register": (lambda: registry.register_keras_serializable()(Plain), ArgumentError, "get_config()"),
    "scope of a list": (lambda: registry.CustomObjectScope(["Plain"]), ArgumentTypeError, "a dict"),
    "name": (lambda: layers.Dense(2, activation="rleu"), ArgumentError, 'mean "relu"'),
    "object": (lambda: layers.Dense(2, kernel_initializer=5), ArgumentTypeError, "of class Initializer"),
    "remat": (lambda: lamina.RematScope("ful"), ArgumentError, 'mean "full"'),
    "scope's name": (lambda: lamina.name_scope("a/b"), ArgumentError, "without a slash"),
    "seed": (lambda: lamina.utils.set_random_seed("a"), ArgumentError, "an integer"),
    "seed generator": (lambda: lamina.random.SeedGenerator(sed=1), ArgumentError, "seed, name"),
    "lambda": (lambda: serialization.serialize_keras_object(lambda x: x), ArgumentError, "named function"),
    "no config": (lambda: serialization.serialize_keras_object(Plain()), ArgumentTypeError, "class Plain"),
    "broken value": (lambda: special("__numpy__", value=[[1], [1, 2]], dtype="int32"), FileError, "broken value"),
    "code": (lambda: special("__lambda__", value="0x"), FileError, "load_weights()"),
    "no class": (
        lambda: serialization.deserialize_keras_object(
            {"class_name": "relu", "module": "keras.activations", "config": {}, "registered_name": None}
        ),
        FileError,
        "from_config()",
    ),
    "frozen": (lambda: frozen().update(a=2), StateError, "config.unfreeze()"),
    "entry": (lambda: Config(rate=1).rats, AttributeError, 'mean "rate"'),
    "sparse": (lambda: ops.convert_to_tensor(torch.eye(2).to_sparse()), ArgumentTypeError, "zeros"),
    "object array": (lambda: ops.convert_to_tensor(np.array([object()])), ArgumentTypeError, "tensor"),
    "ragged": (lambda: ops.convert_to_tensor([[1], [1, 2]]), ArgumentTypeError, "pad_sequences"),
    "encoding": (lambda: text._decoded(np.array([b"\xff"], object), "utf-8"), DataError, "latin-1"),
    "ragged text": (lambda: lookup([["a"], ["b", "c"]]), DataError, "fill up"),
    "missing text": (lambda: lookup(np.array(["a", None], object)), DataError, "fillna"),
    "number for text": (lambda: lookup(np.array(["a", 1.5], object)), ArgumentTypeError, "x.astype(str)"),
    "no structure": (lambda: tree.map_structure(len), ArgumentError, "tree.map_structure"),
    "structures": (lambda: tree.map_structure(max, [1], [1, 2]), ArgumentError, "structures alike"),
    "leaves": (lambda: tree.pack_sequence_as([1, 2], [1]), ArgumentError, "2 leaves"),
    "same structure": (lambda: tree.assert_same_structure([1], {"a": 1}), ArgumentError, "assert_same_structure"),
    "same paths": (lambda: tree.assert_same_paths([1], [1, 2]), ArgumentError, "assert_same_paths"),
    "variable's name": (lambda: Variable(1.0, name="a/b"), ArgumentError, "Variable(name=...)"),
    "variable's shape": (lambda: Variable([1.0, 2.0], shape=(3,)), ShapeError, "Variable(shape=...)"),
    "variable's size": (lambda: Variable("zeros", shape=(-1,)), ArgumentError, "at least 0"),
    "shape no tuple": (lambda: Variable("zeros", shape=3), ArgumentTypeError, "a tuple of sizes"),
    "variable without shape": (lambda: Variable("zeros"), ArgumentError, "shape=(...)"),
    "aggregation": (lambda: Variable(1.0, aggregation="meen"), ArgumentError, 'mean "mean"'),
    "assignment": (lambda: Variable(1.0, name="w").assign([1, 2]), ShapeError, "variable 'w'"),
    "state": (lambda: lamina.StatelessScope([(1, 2)]), ArgumentError, "pairs (variable, value)"),
    "state's shape": (lambda: lamina.StatelessScope([(Variable(1.0), [1, 2])]), ShapeError, "StatelessScope"),
    "values decide": (lambda: Unready()(symbol(None, 3)), ShapeError, "compute_output_shape()"),
    "op": (lambda: node.call_op("no_such_op"), ArgumentError, "import lamina.ops"),
    "no result": (lambda: Silent()(symbol(None, 3)), ShapeError, "`return`"),
    "torch's dropout": (lambda: torch.nn.functional.dropout(symbol(3)), ArgumentError, "TorchModuleWrapper"),
    "shapes": (lambda: symbol(None, 3) + np.zeros(7), ShapeError, "one of them 1"),
    "broadcast": (lambda: broadcast_shapes((2,), (3,)), ShapeError, "(2,) and (3,)"),
    "two ellipses": (lambda: symbol(None, 3)[..., ...], ShapeError, "a colon for each axis"),
    "index": (lambda: symbol(None, 3)[:, 9], ShapeError, "op get_item"),
    "operation's name": (lambda: lamina.Operation(name=5), ArgumentError, "Operation(name=...)"),
    "no call": (lambda: lamina.Operation()(1.0), UnsupportedError, "def call(self, inputs)"),
    "no quantized call": (lambda: lamina.Operation().quantized_call(1.0), UnsupportedError, "def quantized_call"),
    "not called": (lambda: lamina.Operation().input, LaminaError, "lamina.Input(shape=...)"),
    "no outputs": (lambda: Function([], []), ArgumentError, "symbolic tensors for both"),
    "two of a name": (twice_named, ArgumentError, "another name"),
    "sparse symbol": (lambda: lamina.KerasTensor((2,), sparse=True), ArgumentTypeError, "a mask"),
    "symbol as array": (lambda: np.asarray(symbol(2)), ArgumentError, "instead of NumPy's"),
    "symbol as number": (lambda: float(symbol()), ArgumentTypeError, "lamina.ops.cast"),
    "symbol as index": (lambda: int(symbol()), ArgumentTypeError, "no number"),
    "shape": (lambda: lamina.KerasTensor(3), ShapeError, "write (3,)"),
    "size": (lambda: lamina.KerasTensor((2.5,)), ShapeError, "2.5 in (2.5,)"),
}


def frozen():
    made = Config(a=1)
    made.freeze()
    return made


def lookup(values):
    return layers.StringLookup(vocabulary=["a", "b"])(values)


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case):
    provoke, kind, words = CASES[case]
    with pytest.raises(kind) as caught:
        provoke()
    assert isinstance(caught.value, LaminaError)
    assert words in str(caught.value)


def test_a_limit_in_the_environment_is_a_number(monkeypatch):
    with pytest.raises(ArgumentError, match="export LAMINA_LIMIT=10"):
        with_limit("ten", monkeypatch)
