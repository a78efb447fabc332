"""Models drawn as graphs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lamina
from lamina import layers
from lamina.core.errors import MissingPackageError
from lamina.utils import model_to_dot, plot_model
from lamina.visualization import cards, graphs
from lamina.visualization.layout import Box, Group


def network(module: Any) -> Any:
    """Two inputs, a branch that skips layers, models inside, two outputs."""
    layers = module.layers
    image, extra = layers.Input((8, 8, 3), name="image"), layers.Input((4,), name="extra")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    y = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="sum")([x, y]))
    tower = module.Sequential([layers.Dense(6, name="up"), layers.Dense(4, name="down")], name="tower")
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    inner = module.Model([a, b], layers.Concatenate(name="join")([layers.Dense(2, name="narrow")(a), b]), name="inner")
    x = inner([extra, tower(x)])
    return module.Model([image, extra], [layers.Dense(2, name="class")(x), layers.Dense(1, name="size")(x)])


def connections(dot: Any, model: Any) -> set[tuple[str, str]]:
    """The names of the layers that arrows connect."""
    names: dict[str, str] = {}

    def collect(part: Any) -> None:
        for layer in getattr(part, "_operations", None) or getattr(part, "layers", None) or []:
            names[str(id(layer))] = layer.name
            collect(layer)

    collect(model)
    found = set()

    def walk(graph: Any) -> None:
        found.update((names[e.get_source()], names[e.get_destination()]) for e in graph.get_edges())
        for sub in graph.get_subgraphs():
            walk(sub)

    walk(dot)
    return found


@pytest.mark.parametrize("expand_nested", [False, True])
def test_arrows_are_those_of_keras(expand_nested: bool) -> None:
    pytest.importorskip("pydot")
    found = []
    for module in (lamina, keras):
        model = network(module)
        dot = module.utils.model_to_dot(model, expand_nested=expand_nested)
        found.append(connections(dot, model))
        text = dot.to_string()
        assert ("cluster_tower" in text) == expand_nested
    assert found[0] == found[1]
    chain = lamina.Sequential([layers.Input((2,)), layers.Dense(2), layers.Dense(3), layers.Dense(1)])
    assert len(model_to_dot(chain).get_edges()) == 2
    assert type(model_to_dot(chain, subgraph=True)).__name__ == "Cluster"


def test_labels_say_what_is_asked_for() -> None:
    pytest.importorskip("pydot")
    model = network(lamina)
    model.get_layer("first").trainable = False
    options = {"show_shapes": True, "show_dtype": True, "show_layer_activations": True, "show_trainable": True}
    full = model_to_dot(model, **options).to_string()
    for word in ("(None, 8, 8, 4)", "float32", "relu", "Non-trainable", "first", "Conv2D", "[(None, 4), (None, 4)]"):
        assert word in full
    bare = model_to_dot(model, show_layer_names=False).to_string()
    assert "Conv2D" in bare
    assert "first" not in bare
    assert "None" not in bare


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
@pytest.mark.parametrize("expand_nested", [False, True])
def test_boxes_stand_apart_and_arrows_go_one_way(rankdir: str, expand_nested: bool) -> None:
    group = cards.group_of(network(lamina), cards.Shown(shapes=True), expand_nested)
    figure = graphs._draw(group, rankdir, "ortho")
    width, height = figure.get_size_inches() * 72
    check_apart(group)
    for box in group.everything():
        assert box.width / 2 <= box.x <= width - box.width / 2 + 0.01
        assert box.height / 2 <= box.y <= height - box.height / 2 + 0.01
    for begin, chain, end in group.routes:
        places = [box.y if rankdir in ("TB", "BT") else box.x for box in chain]
        assert places == sorted(places, reverse=rankdir in ("BT", "RL"))
        assert begin in _boxes(chain[0])
        assert end in _boxes(chain[-1])


def _boxes(item: Box) -> list[Box]:
    return [item, *item.everything()] if isinstance(item, Group) else [item]


def check_apart(group: Group) -> None:
    for one in group.items:
        for other in group.items:
            if one is not other:
                beside = abs(one.x - other.x) >= (one.width + other.width) / 2 - 0.01
                below = abs(one.y - other.y) >= (one.height + other.height) / 2 - 0.01
                assert beside or below
        if isinstance(one, Group):
            check_apart(one)


@pytest.mark.parametrize("splines", ["ortho", "curved", "line"])
def test_pictures_are_written(splines: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(graphs.shutil, "which", lambda name: None)
    model = network(lamina)
    assert plot_model(model, tmp_path / "model", show_shapes=True, splines=splines, dpi=40) is None
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
    plot_model(model, tmp_path / "deep" / "model.svg", show_layer_names=True, expand_nested=True, show_trainable=True)
    assert "<svg" in (tmp_path / "deep" / "model.svg").read_text()


def test_graphviz_draws_where_it_is_there(tmp_path: Path, monkeypatch: Any) -> None:
    pydot = pytest.importorskip("pydot")
    written = []
    monkeypatch.setattr(graphs.shutil, "which", lambda name: "/usr/bin/dot")
    monkeypatch.setattr(pydot.Dot, "write", lambda self, path, format: written.append((path, format, self)))
    plot_model(network(lamina), tmp_path / "model.pdf", rankdir="LR", dpi=96, splines="curved")
    path, kind, dot = written[0]
    assert (path, kind) == (str(tmp_path / "model.pdf"), "pdf")
    assert (dot.get_rankdir(), dot.get("dpi"), dot.get("splines")) == ("LR", 96, "curved")


def test_without_pydot_the_error_names_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(MissingPackageError, match=r"where: model_to_dot[\s\S]*pip install pydot"):
        model_to_dot(lamina.Sequential([layers.Input((2,)), layers.Dense(1)]))


def test_models_of_a_program_s_own_ops_and_shared_layers(tmp_path: Path) -> None:
    class Own(lamina.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    own = Own(name="own")
    with pytest.raises(ValueError, match="without shapes"):
        plot_model(own)
    own(np.ones((1, 2)))
    assert [box.content.title for box in cards.group_of(own, cards.Shown(), True).items] == ["own"]
    x = layers.Input((3,), name="x")
    dense = layers.Dense(3, name="twice")
    model = lamina.Model(x, dense(lamina.ops.relu(dense(x))))
    group = cards.group_of(model, cards.Shown(), False)
    assert len(group.edges) == 3
    plot_model(model, tmp_path / "loop.png", dpi=30)
    with pytest.raises(ValueError, match="direction"):
        plot_model(model, rankdir="XY")
    with pytest.raises(ValueError, match="Unknown arguments"):
        plot_model(model, layer_range=[1, 2])
