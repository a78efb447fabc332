"""One layer of each family in a step that really is compiled. What the others do in graphs, test_layers.py tells."""

from __future__ import annotations

import pytest
from tests.contract import steps
from tests.contract.test_layers import CASES

from lamina.training.compiler import unavailable

FAMILIES = ("Dense", "Conv2D-strided", "BatchNormalization", "LSTM", "MultiHeadAttention", "Embedding")


@pytest.mark.slow
@pytest.mark.skipif(unavailable() is not None, reason="nothing can be compiled here")
@pytest.mark.parametrize("name", FAMILIES)
def test_compiled_steps_train_as_eager_ones(name: str) -> None:
    (case,) = (case for case in CASES if str(case) == name)
    steps.check_compiled(case)
