"""A sample of the layers' grid, and that the grid has every layer. `make parity` runs all of it."""

from __future__ import annotations

import inspect

import pytest
from tests.parity import layer_grid
from tests.parity.layer_cases import DIFFERENCES, TABLE, WITHOUT

from lamina import layers

SAMPLE = 3


def test_every_layer_is_in_the_grid_or_has_a_reason() -> None:
    classes = {value for value in vars(layers).values() if inspect.isclass(value) and issubclass(value, layers.Layer)}
    without = {name for names in WITHOUT for name in names.split()}
    assert not without & TABLE.keys()
    assert classes == {getattr(layers, name) for name in [*TABLE, *without]}


@pytest.mark.parametrize("name", TABLE)
def test_layers_do_what_keras_does(name: str) -> None:
    for row in TABLE[name]:
        cases = list(layer_grid.cases_of(name, row))
        for case in cases[:: max(1, len(cases) // SAMPLE)]:
            found = layer_grid.run(case).differences
            assert not [difference for difference in found if layer_grid.known(difference, DIFFERENCES) is None]


def test_the_judge_sees_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(layer_grid.cases_of("Dense", TABLE["Dense"][0]))
    call = layers.Dense.call
    monkeypatch.setattr(layers.Dense, "call", lambda self, inputs: call(self, inputs) * 1.001)
    differences = layer_grid.run(case).differences
    assert {difference.what for difference in differences} == {"outputs", "gradients"}
    assert not any(layer_grid.known(difference, DIFFERENCES) for difference in differences)
