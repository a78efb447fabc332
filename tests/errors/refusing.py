"""What every table of wrong calls asks of the error that they end in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lamina.core.errors import LaminaError


def refused(call: Callable[[], Any], kind: type[Exception], words: str) -> None:
    """See that a call ends in an error of lamina's, of this kind, which says where and has these words."""
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value), str(caught.value)
    assert isinstance(caught.value, LaminaError)
    assert caught.value.where is not None
