"""Boxes and arrows in layers: which box stands where, so that arrows go one way and cross little."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

GAP, STEP, MARGIN, HEAD = 26.0, 34.0, 14.0, 20.0
"""Points between neighbours, between layers, and around a group; room for a group's name."""


@dataclass(eq=False)
class Box:
    """Something of a size that is to be placed: a layer, or a bend of an arrow.

    Args:
        width: in points.
        height: in points.
        content: what is drawn in it.
        band: the size of its layer, in the direction of the arrows.
    """

    width: float = 0.0
    height: float = 0.0
    content: Any = None
    x: float = 0.0
    y: float = 0.0
    band: float = 0.0


@dataclass(eq=False)
class Group(Box):
    """Boxes and groups that stand together.

    Args:
        items: the parts, each after those that lead to it.
        edges: pairs of places among the items, and the boxes inside them that the arrow connects.
        routes: for each arrow the box it leaves, the items and bends it passes, and the box it reaches.
    """

    items: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int, Box, Box]] = field(default_factory=list)
    routes: list[tuple[Box, list[Box], Box]] = field(default_factory=list)

    def arrange(self, rankdir: str = "TB") -> None:
        """Give everything its place in the whole picture.

        Args:
            rankdir: where arrows go: "TB" downwards, "BT", "LR" or "RL".
        """
        self.place(rankdir in ("LR", "RL"))
        self.settle()
        for box in self.everything():
            if rankdir == "BT":
                box.y = self.height - box.y
            elif rankdir == "RL":
                box.x = self.width - box.x

    def place(self, across: bool = False) -> None:
        """Give all parts their places, the centres counted from this group's upper left corner, and itself a size.

        Args:
            across: whether arrows go from left to right, not downwards.
        """
        for item in self.items:
            if isinstance(item, Group):
                item.place(across)
        if across:
            _turn(self.items)
        layers, self.routes = _layers(self.items, self.edges, inner=self.content is not None)
        _sort_layers(layers, self.routes)
        breadth = _spread(layers, self.routes)
        depth = MARGIN
        for layer in layers:
            height = max(box.height for box in layer)
            for box in layer:
                box.y, box.band = depth + height / 2, height
            depth += height + STEP
        self.width, self.height = breadth + 2 * MARGIN, depth - STEP + MARGIN
        if across:
            _turn(self.items)
            for box in self._own():
                box.x, box.y = box.y, box.x
            self.width, self.height = self.height, self.width
        if self.content is not None:
            self.height += HEAD
            for box in self._own():
                box.y += HEAD

    def settle(self, left: float = 0.0, top: float = 0.0) -> None:
        """Count all centres from the corner of the whole picture."""
        for box in self._own():
            box.x, box.y = box.x + left, box.y + top
            if isinstance(box, Group):
                box.settle(box.x - box.width / 2, box.y - box.height / 2)

    def _own(self) -> list[Box]:
        """The items and the bends of this group, each once."""
        return [*self.items, *(bend for _, chain, _ in self.routes for bend in chain[1:-1])]

    def everything(self) -> Iterator[Box]:
        """The items and bends of this group and of those in it, each once."""
        for box in self._own():
            yield box
            if isinstance(box, Group):
                yield from box.everything()


def _turn(items: Sequence[Box]) -> None:
    for item in items:
        item.width, item.height = item.height, item.width


def _layers(
    items: list[Box], edges: list[tuple[int, int, Box, Box]], inner: bool
) -> tuple[list[list[Box]], list[tuple[Box, list[Box], Box]]]:
    """The items by their longest way from a beginning, with a bend in each layer that an arrow passes."""
    rank = [0] * len(items)
    forward = sorted((source, target) for source, target, _, _ in edges if source < target)
    for source, target in forward:
        rank[target] = max(rank[target], rank[source] + 1)
    if not inner:
        fed, first = {target for _, target in forward}, {}
        for source, target in forward:
            first[source] = min(first.get(source, len(items)), rank[target])
        rank = [first[i] - 1 if i in first and i not in fed else rank[i] for i in range(len(items))]
    layers: list[list[Box]] = [[] for _ in range(max(rank, default=0) + 1)]
    for item, place in zip(items, rank, strict=True):
        layers[place].append(item)
    routes = []
    for source, target, begin, end in edges:
        low, high = sorted((rank[source], rank[target]))
        bends = [Box() for _ in range(low + 1, high)]
        for layer, bend in zip(layers[low + 1 : high], bends, strict=True):
            layer.append(bend)
        bends = bends if rank[source] <= rank[target] else bends[::-1]
        routes.append((begin, [items[source], *bends, items[target]], end))
    return layers, routes


def _neighbours(layers: list[list[Box]], routes: list[Any]) -> tuple[dict[int, list[Box]], dict[int, list[Box]]]:
    above: dict[int, list[Box]] = defaultdict(list)
    below: dict[int, list[Box]] = defaultdict(list)
    depth = {id(box): index for index, layer in enumerate(layers) for box in layer}
    for _, chain, _ in routes:
        for one, other in itertools.pairwise(chain):
            if depth[id(one)] > depth[id(other)]:
                one, other = other, one
            above[id(other)].append(one)
            below[id(one)].append(other)
    return above, below


def _sort_layers(layers: list[list[Box]], routes: list[Any]) -> None:
    """Put the boxes of each layer into an order in which few arrows cross."""
    above, below = _neighbours(layers, routes)
    place = {id(box): index for layer in layers for index, box in enumerate(layer)}
    for sweep in range(8):
        sides, order = (above, layers) if sweep % 2 == 0 else (below, layers[::-1])
        for layer in order:
            wanted = {
                id(box): sum(place[id(other)] for other in sides[id(box)]) / len(sides[id(box)])
                if sides[id(box)]
                else place[id(box)]
                for box in layer
            }
            layer.sort(key=lambda box: wanted[id(box)])
            place.update({id(box): index for index, box in enumerate(layer)})


def _spread(layers: list[list[Box]], routes: list[Any]) -> float:
    """Give each box a place in its layer, near those it is connected with; the breadth of all layers."""
    above, below = _neighbours(layers, routes)
    for layer in layers:
        at = 0.0
        for box in layer:
            box.x = at + box.width / 2
            at += box.width + GAP
    for sweep in range(12):
        sides, order = (above, layers) if sweep % 2 == 0 else (below, layers[::-1])
        for layer in order:
            wanted = [
                sum(other.x for other in sides[id(box)]) / len(sides[id(box)]) if sides[id(box)] else box.x
                for box in layer
            ]
            offsets = [0.0]
            for one, other in itertools.pairwise(layer):
                offsets.append(offsets[-1] + (one.width + other.width) / 2 + GAP)
            free = _ascending([x - offset for x, offset in zip(wanted, offsets, strict=True)])
            for box, x, offset in zip(layer, free, offsets, strict=True):
                box.x = x + offset
    left = min(box.x - box.width / 2 for layer in layers for box in layer)
    for layer in layers:
        for box in layer:
            box.x += MARGIN - left
    return max(box.x + box.width / 2 for layer in layers for box in layer) - MARGIN


def _ascending(values: list[float]) -> list[float]:
    """The numbers nearest to these that do not descend.

    Example:
        >>> _ascending([1.0, 4.0, 2.0])
        [1.0, 3.0, 3.0]
    """
    runs: list[list[float]] = []
    for value in values:
        runs.append([value, 1])
        while len(runs) > 1 and runs[-2][0] > runs[-1][0]:
            mean, count = runs.pop()
            runs[-1] = [(runs[-1][0] * runs[-1][1] + mean * count) / (runs[-1][1] + count), runs[-1][1] + count]
    return [mean for mean, count in runs for _ in range(int(count))]
