"""Every layer keeps the contract. To add layers, write a `cases_*.py` with a list CASES and name it here."""

from __future__ import annotations

import pytest
from tests.contract import (
    cases_attention,
    cases_b,
    cases_basic,
    cases_image,
    cases_image_colour,
    cases_preprocessing,
    cases_recurrent,
    harness,
)
from tests.contract.harness import LayerCase, ids

CASES = [
    *cases_basic.CASES,
    *cases_b.CASES,
    *cases_attention.CASES,
    *cases_recurrent.CASES,
    *cases_preprocessing.CASES,
    *cases_image.CASES,
    *cases_image_colour.CASES,
]

each = pytest.mark.parametrize(**ids(CASES))


@each
def test_symbolic_and_eager_shapes_agree(case: LayerCase) -> None:
    harness.check_shapes(case)


@each
def test_config_round_trip(case: LayerCase) -> None:
    harness.check_config(case)


@pytest.mark.parametrize("policy", list(harness.POLICIES))
@each
def test_dtype_policies(case: LayerCase, policy: str) -> None:
    if policy not in case.policies:
        pytest.skip("the layer does not work in this dtype")
    harness.check_policy(case, policy)


@each
def test_gradients_and_a_step(case: LayerCase) -> None:
    harness.check_gradients(case)


@each
def test_copies(case: LayerCase) -> None:
    harness.check_copies(case)


@each
def test_calls_are_repeatable(case: LayerCase) -> None:
    harness.check_repeatable(case)


@each
def test_few_frames(case: LayerCase) -> None:
    harness.check_frames(case)


@pytest.mark.parametrize(**ids([case for case in CASES if case.keeps_mask]))
def test_masks_arrive(case: LayerCase) -> None:
    harness.check_mask(case)


@pytest.mark.parametrize(**ids([case for case in CASES if case.compiles]))
def test_compile(case: LayerCase) -> None:
    harness.check_compile(case)


@pytest.mark.parametrize(**ids([case for case in CASES if case.exports]))
def test_export(case: LayerCase) -> None:
    harness.check_export(case)
