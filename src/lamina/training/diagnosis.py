"""What the doctor is shown before training: samples of what `fit` would be given."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from lamina.core import tree
from lamina.data.arrays import ArraySource
from lamina.data.feed import Feed
from lamina.data.source import unpack_x_y_sample_weight
from lamina.doctor.before import Examination, examine

_BATCHES = 16


def examine_feed(model: Any, feed: Feed, validation: Feed | None = None, to_train: bool = True) -> Examination:
    """Look at a model and at data before training.

    Args:
        model: the model.
        feed: the batches; arrays are looked at whole.
        validation: what will be evaluated on; only arrays are looked at.
        to_train: whether the feed will be used for training; then no more than its first batch is read.
    """
    source = feed.source
    if isinstance(source, ArraySource):
        x, y, weights, rows, size = source.x, source.y, source.sample_weight, source.rows, source.batch_size
    else:
        batches = [feed.peek()] if to_train else list(itertools.islice(feed.epoch(), _BATCHES))
        x, y, weights = unpack_x_y_sample_weight(tree.map_structure(_joined, *batches))
        size = _rows(batches[0])
        rows = None if source.batches is None else source.batches * size
    held_out = None if validation is None or not isinstance(validation.source, ArraySource) else validation.source.x
    return examine(model, x, y, held_out, rows, size, weights is not None)


def _joined(*leaves: Any) -> Any:
    return torch.cat(leaves) if isinstance(leaves[0], torch.Tensor) and leaves[0].ndim else leaves[0]


def _rows(batch: Any) -> int:
    return next((len(leaf) for leaf in tree.flatten(batch) if isinstance(leaf, torch.Tensor) and leaf.ndim), 1)
