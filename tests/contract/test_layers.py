"""Every layer keeps the contract. To add layers, write a `cases_*.py` with a list CASES and name it here."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from tests.contract import (
    cases_attention,
    cases_b,
    cases_basic,
    cases_image,
    cases_image_colour,
    cases_preprocessing,
    cases_recurrent,
    cases_rest,
    harness,
    steps,
)
from tests.contract.harness import LayerCase, ids

from lamina import layers
from lamina.core.errors import UnsupportedError

CASES = [
    *cases_basic.CASES,
    *cases_b.CASES,
    *cases_attention.CASES,
    *cases_recurrent.CASES,
    *cases_preprocessing.CASES,
    *cases_image.CASES,
    *cases_image_colour.CASES,
    *cases_rest.CASES,
]
# What cannot stand in a model as a layer: each must refuse it, by a test below.
ABSTRACT, IMPOSSIBLE, INPUTS = ("Layer", "Wrapper"), ("TFSMLayer", "JaxLayer", "FlaxLayer"), ("InputLayer",)

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


@pytest.mark.filterwarnings("ignore:These variables have no gradient")
@each
def test_training_eager_and_as_a_graph(case: LayerCase) -> None:
    steps.check_training(case)


@each
def test_saving_and_loading(case: LayerCase, tmp_path: Path) -> None:
    steps.check_file(case, tmp_path)


@pytest.mark.parametrize(**ids([case for case in CASES if case.keeps_mask]))
def test_masks_arrive(case: LayerCase) -> None:
    harness.check_mask(case)


# Dynamo asks the losses that a layer has kept for their gradients.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(**ids([case for case in CASES if case.compiles]))
def test_compile(case: LayerCase) -> None:
    harness.check_compile(case)


@pytest.mark.parametrize(**ids([case for case in CASES if case.exports]))
def test_export(case: LayerCase) -> None:
    harness.check_export(case)


def test_every_layer_has_a_case() -> None:
    classes = {
        value.__name__ for value in vars(layers).values() if inspect.isclass(value) and issubclass(value, layers.Layer)
    }
    covered = {harness.find(case.layer).__name__ for case in CASES}
    assert classes == covered | {*ABSTRACT, *IMPOSSIBLE, *INPUTS}
    assert not covered & {*ABSTRACT, *IMPOSSIBLE, *INPUTS}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_layers_of_other_frameworks_say_what_to_do(name: str) -> None:
    with pytest.raises(UnsupportedError, match="fix: "):
        getattr(layers, name)("something")


def test_base_classes_and_inputs_compute_nothing() -> None:
    for layer in (layers.Layer(), layers.Wrapper(layers.Dense(2))):
        with pytest.raises(NotImplementedError, match="call"):
            layer(torch.ones(2, 3))
    assert layers.InputLayer((3,)).output.shape == (None, 3)
