"""Connectionist temporal classification: against all alignments written out, at its edges, traced, refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import lamina
from lamina import ops
from lamina.core.errors import ArgumentError, ShapeError
from lamina.graph.tensor import KerasTensor


def probabilities(logits: torch.Tensor, blank: int) -> dict[tuple[int, ...], float]:
    """What each label sequence gets from all the ways of writing it."""
    scores, found = logits.double().log_softmax(-1).tolist(), {}
    for way in itertools.product(range(logits.shape[1]), repeat=logits.shape[0]):
        labels = tuple(label for label, _ in itertools.groupby(way) if label != blank)
        found[labels] = found.get(labels, 0.0) + math.exp(sum(row[c] for row, c in zip(scores, way, strict=True)))
    return found


@pytest.mark.parametrize("blank", [0, 2])
def test_all_alignments(blank):
    logits = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(blank))
    found = sorted(probabilities(logits[0], blank).items(), key=lambda item: -item[1])
    labels, scores = ops.ctc_decode(logits, [5], "beam_search", beam_width=200, top_paths=6, mask_index=blank)
    for row, score, (expected, probability) in zip(labels[:, 0].tolist(), scores[0].tolist(), found, strict=False):
        assert tuple(label for label in row if label >= 0) == expected
        assert score == pytest.approx(math.log(probability), abs=1e-5)
        target = torch.tensor([[*expected, *[1] * (5 - len(expected))]])
        loss = ops.ctc_loss(target, logits, [len(expected)], [5], mask_index=blank)
        assert loss.item() == pytest.approx(-score, abs=1e-5)


def test_fewer_sequences_than_asked_for():
    labels, scores = ops.ctc_decode(torch.zeros(1, 1, 2), [1], "beam_search", beam_width=3, top_paths=5)
    assert sorted(labels[:2, 0, 0].tolist()) == [-1, 1] and labels[2:].eq(-1).all()
    assert scores[0, 2:].isinf().all() and scores.shape == (1, 5)


@pytest.mark.parametrize("strategy", ["greedy", "beam_search"])
def test_steps_that_do_not_count(strategy):
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels, scores = ops.ctc_decode(logits, [0, 2, 4], strategy, beam_width=8)
    assert labels[0, 0].eq(-1).all() and scores[0, 0] == 0
    changed = logits.clone()
    changed[1, 2:] = 9.0
    again = ops.ctc_decode(changed, [0, 2, 4], strategy, beam_width=8)
    assert torch.equal(again[0], labels) and torch.equal(again[1], scores)


@pytest.mark.parametrize("strategy", ["greedy", "beam_search"])
def test_traced(strategy):
    logits, lengths = torch.randn(2, 5, 4), torch.tensor([5, 3])
    traced = make_fx(lambda x, n: ops.ctc_decode(x, n, strategy, 6, 2))(torch.zeros(2, 5, 4), lengths)
    for got, expected in zip(traced(logits, lengths), ops.ctc_decode(logits, lengths, strategy, 6, 2), strict=True):
        torch.testing.assert_close(got, expected)


def test_in_a_functional_model():
    inputs = lamina.Input((None, 4))
    lengths = lamina.Input((), dtype="int32")
    outputs = ops.ctc_decode(inputs, lengths, "beam_search", beam_width=5)
    assert [tuple(x.shape) for x in outputs] == [(1, None, None), (None, 1)]
    model = lamina.Model([inputs, lengths], outputs)
    logits = torch.randn(2, 6, 4)
    got = model([logits, torch.tensor([6, 2], dtype=torch.int32)])
    assert torch.equal(got[0], ops.ctc_decode(logits, [6, 2], "beam_search", beam_width=5)[0])


def test_gradient():
    logits = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1, 1], [3, 2]])

    def likelihood(x: torch.Tensor) -> torch.Tensor:
        return ops.ctc_loss(target, x, [2, 2], [5, 4]).double()

    # The loss is of float32, whatever the logits are.
    assert torch.autograd.gradcheck(likelihood, logits, eps=1e-2, atol=1e-3)


def test_refused():
    x = torch.zeros(2, 3, 4)
    with pytest.raises(ArgumentError, match=r"Invalid strategy.*beam_search"):
        ops.ctc_decode(x, [3, 3], "beam-search")
    with pytest.raises(ArgumentError, match="No such class"):
        ops.ctc_decode(x, [3, 3], mask_index=4)
    for lengths in ([3], [[3, 3]]):
        with pytest.raises(ShapeError, match="sequence_lengths"):
            ops.ctc_decode(x, lengths)
    with pytest.raises(ShapeError, match="target"):
        ops.ctc_loss([[1, 2]], x, [2, 2], [3, 3])
    with pytest.raises(ShapeError, match="target"):
        ops.ctc_loss(KerasTensor((None,)), KerasTensor((None, 3, 4)), KerasTensor((None,)), KerasTensor((None,)))
