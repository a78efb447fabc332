"""What goes on inside a model: feature maps, attention, and weights and gradients over time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.errors import ArgumentError, StateError, listing
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.visualization.figures import FAINT, INK, new_figure, plain, save


def _layer(model: Any, layer: Any, where: str) -> Any:
    """A layer by its name, deep inside where need be."""
    if not isinstance(layer, str):
        return layer
    named = [(module.name, module) for module in model.modules() if isinstance(getattr(module, "name", None), str)]
    if layer not in dict(named):
        raise ArgumentError(
            "There is no such layer.", where=where, expected=listing(name for name, _ in named), received=layer
        )
    return dict(named)[layer]


def _run(model: Any, x: Any) -> None:
    """Run a model for what its hooks see, as predict would."""
    device = next((weight.device for weight in model.parameters()), None)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(tree.map_structure(lambda leaf: convert_to_tensor(leaf).to(device), x))
    finally:
        model.train(was_training)


def _seen(calls: list[Any], layer: Any, where: str) -> Any:
    if not calls:
        raise StateError(
            "The model does not call this layer.",
            where=where,
            expected="a layer that runs when the model is called",
            received=getattr(layer, "name", layer),
            fix="pass the name of one of model.layers",
        )
    return calls[0]


def outputs_of(model: Any, layer: Any, x: Any) -> np.ndarray:
    """What a layer gives when a model is run on a batch.

    Args:
        model: a model that is built.
        layer: a layer in it, or the name of one.
        x: a batch of inputs.

    Returns:
        The outputs, (batch, ...); of several the first.

    Raises:
        ArgumentError: there is no layer of this name.
        StateError: the model does not call the layer.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((3,)), layers.Dense(2, name="first"), layers.Dense(1)])
        >>> outputs_of(model, "first", np.zeros((5, 3), "float32")).shape
        (5, 2)
    """
    part, calls = _layer(model, layer, "outputs_of"), []
    handle = part.register_forward_hook(lambda module, inputs, outputs: calls.append(outputs))
    try:
        _run(model, x)
    finally:
        handle.remove()
    return convert_to_numpy(tree.flatten(_seen(calls, part, "outputs_of"))[0])


def attention_of(model: Any, layer: Any, x: Any) -> np.ndarray:
    """How much each query looks at each key in an attention layer, when a model is run on a batch.

    Args:
        model: a model that is built.
        layer: a layer that takes `return_attention_scores`, such as `MultiHeadAttention`, or its name.
        x: a batch of inputs.

    Returns:
        (batch, heads, queries, keys).

    Raises:
        ArgumentError: there is no layer of this name.
        StateError: the model does not call the layer.
    """
    part, calls = _layer(model, layer, "attention_of"), []
    handle = part.register_forward_pre_hook(lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    try:
        _run(model, x)
    finally:
        handle.remove()
    args, kwargs = _seen(calls, part, "attention_of")
    with torch.no_grad():
        scores = convert_to_numpy(part(*args, **{**kwargs, "return_attention_scores": True})[1])
    return scores if scores.ndim > 3 else scores[:, None]


def plot_feature_maps(
    model: Any,
    layer: Any,
    x: Any,
    path: str | os.PathLike[str] | None = None,
    sample: int = 0,
    count: int = 32,
    columns: int = 8,
    title: str | None = None,
) -> Any:
    """Draw the maps that a layer makes of one image: dark where it answers, each on its own scale.

    Args:
        model: a model that is built.
        layer: a layer with outputs (batch, height, width, channels), or its name.
        x: a batch of inputs.
        path: the file to write; its ending says which kind.
        sample: which of the batch.
        count: how many maps at most.
        columns: maps in a row.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        ArgumentError: the layer is unknown or makes no maps.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((8, 8, 1)), layers.Conv2D(4, 3, name="edges")])
        >>> len(plot_feature_maps(model, "edges", np.ones((1, 8, 8, 1))).axes)
        4
    """
    part = _layer(model, layer, "plot_feature_maps")
    maps = outputs_of(model, part, x)
    if maps.ndim != 4:
        raise ArgumentError(
            "This layer makes no maps.",
            where="plot_feature_maps",
            expected="outputs (batch, height, width, channels)",
            received=f"{maps.shape} from {part.name}",
        )
    shown = np.moveaxis(maps[sample], 0 if getattr(part, "data_format", None) == "channels_first" else -1, 0)
    dead = int(sum(one.max() == one.min() for one in shown))
    told = f"{part.name}: {len(shown)} maps of {shown.shape[1]} by {shown.shape[2]}" + f", {dead} flat" * bool(dead)
    shown = shown[:count]
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(max(1.1 * columns + 0.2, 4), 1.25 * rows + 0.5)
    figure.suptitle(title or told, color=INK, fontsize=12, fontweight="bold")
    for index, panel in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        panel.set(xticks=[], yticks=[])
        if index >= len(shown):
            panel.remove()
            continue
        panel.imshow(shown[index], cmap="Blues")
        panel.set_title(str(index), color=INK, fontsize=8, pad=2)
        panel.spines[:].set_color(FAINT)
    save(figure, path)
    return figure


def plot_attention(
    model: Any,
    layer: Any,
    x: Any,
    path: str | os.PathLike[str] | None = None,
    sample: int = 0,
    tokens: Sequence[str] | None = None,
    columns: int = 4,
    title: str | None = None,
) -> Any:
    """Draw where each head of an attention layer looks: queries downwards, keys across.

    Args:
        model: a model that is built.
        layer: a layer that takes `return_attention_scores`, such as `MultiHeadAttention`, or its name.
        x: a batch of inputs.
        path: the file to write; its ending says which kind.
        sample: which of the batch.
        tokens: what stands at the places, for the axes.
        columns: heads in a row.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        ArgumentError: the layer is unknown.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> from lamina import Model, layers
        >>> inputs = layers.Input((5, 8))
        >>> model = Model(inputs, layers.MultiHeadAttention(2, 4, name="look")(inputs, inputs))
        >>> [panel.get_title() for panel in plot_attention(model, "look", np.ones((1, 5, 8))).axes]
        ['head 0', 'head 1', '']
    """
    part = _layer(model, layer, "plot_attention")
    scores = attention_of(model, part, x)[sample]
    scores = scores.reshape(len(scores), scores.shape[1], -1)
    columns = min(columns, len(scores))
    rows = -(-len(scores) // columns)
    words = 0.9 if tokens else 0.0
    figure = new_figure(2.5 * columns + 0.9 + words, 2.6 * rows + 0.6 + words)
    figure.suptitle(title or part.name, color=INK, fontsize=12, fontweight="bold")
    panels = figure.subplots(rows, columns, squeeze=False)
    top = float(scores.max())
    image = None
    for index, panel in enumerate(panels.ravel()):
        if index >= len(scores):
            panel.set_axis_off()
            continue
        image = panel.imshow(scores[index], cmap="Blues", vmin=0, vmax=top, aspect="auto")
        outer, left = index + columns >= len(scores), index % columns == 0
        plain(panel, f"head {index}", "key" if outer else "", "query" if left else "", grid=False)
        panel.spines[:].set_visible(False)
        if tokens:
            for axis, places in ((panel.xaxis, scores.shape[2]), (panel.yaxis, scores.shape[1])):
                step = -(-places // 36)  # more would stand on each other
                shown = tokens[:places:step]
                axis.set_ticks(range(0, step * len(shown), step), shown, fontsize=min(10.0, 190 / places * step))
            panel.tick_params(axis="x", rotation=90)
            if not left:
                panel.set_yticklabels([])
        else:
            for axis in (panel.xaxis, panel.yaxis):
                axis.get_major_locator().set_params(integer=True)
    bar = figure.colorbar(image, ax=panels, shrink=0.8, pad=0.01)
    bar.set_label("weight", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK)
    save(figure, path)
    return figure


def plot_histograms(
    watched: Any,
    path: str | os.PathLike[str] | None = None,
    what: str = "weights",
    names: Sequence[str] | None = None,
    columns: int = 3,
    title: str | None = None,
) -> Any:
    """Draw how values of weights or gradients are spread, epoch by epoch: each column of a panel is one epoch.

    The darker a place, the more values; the line is their spread (standard deviation) on either side of the mean.

    Args:
        watched: a `lamina.callbacks.WeightHistograms` that was given to `fit`.
        path: the file to write; its ending says which kind.
        what: "weights" or "gradients".
        names: paths of the weights to draw; all by default.
        columns: panels in a row.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        ArgumentError: nothing was seen, or a name is unknown.
        MissingPackageError: matplotlib is not installed.
    """
    kinds = {"weights": watched.weights, "gradients": watched.gradients}
    seen = kinds.get(what, {})
    chosen = list(names or seen)
    unknown = [name for name in chosen if name not in seen]
    if not chosen or unknown:
        raise ArgumentError(
            "There are no such histograms.",
            where="plot_histograms",
            expected=listing(seen) if seen else "a callback that fit was given, and what='weights' or 'gradients'",
            received=", ".join(unknown) or repr(what),
        )
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(3.8 * columns, 2.7 * rows + 0.5)
    figure.suptitle(title or f"{what} over the epochs", color=INK, fontsize=13, fontweight="bold")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, name in zip(panels, chosen, strict=False):
        _spread(panel, name, seen[name], watched.epochs)
    for panel in panels[len(chosen) :]:
        panel.set_axis_off()
    save(figure, path)
    return figure


def _spread(panel: Any, name: str, histograms: Sequence[Any], epochs: Sequence[int]) -> None:
    """One panel: the histograms of a weight on one scale, side by side."""
    low, high = min(one.low for one in histograms), max(one.high for one in histograms)
    high = high if high > low else low + 1e-6
    rows = int(np.clip(2 * np.sqrt(histograms[0].counts.sum()), 8, 80))
    edges = np.linspace(low, high, rows + 1)
    grid = []
    for one in histograms:
        own = np.linspace(one.low, one.high, len(one.counts) + 1)
        total = np.interp(edges, own, [0, *np.cumsum(one.counts)])
        grid.append(np.diff(total) / max(one.counts.sum(), 1))
    image = np.sqrt(np.array(grid).T)  # so that tails are seen beside the peak
    first, last = epochs[0] + 1, epochs[-1] + 1
    extent = (first - 0.5, last + 0.5, low, high)
    panel.imshow(image, cmap="Blues", aspect="auto", origin="lower", interpolation="nearest", extent=extent)
    for sign in (-1, 1):
        line = [np.clip(one.mean + sign * one.deviation, low, high) for one in histograms]
        panel.plot([epoch + 1 for epoch in epochs], line, color=INK, linewidth=1)
    plain(panel, name, "epoch", grid=False)
    panel.title.set_fontsize(10)
    panel.set_xlim(first - 0.5, last + 0.5)
    panel.xaxis.get_major_locator().set_params(integer=True)
