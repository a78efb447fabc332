"""Dtype policies: in which dtype layers compute, and in which they keep their weights."""

from lamina.core.policies import AWQDTypePolicy as AWQDTypePolicy
from lamina.core.policies import DTypePolicy as DTypePolicy
from lamina.core.policies import DTypePolicy as FloatDTypePolicy  # noqa: F401
from lamina.core.policies import DTypePolicyMap as DTypePolicyMap
from lamina.core.policies import GPTQDTypePolicy as GPTQDTypePolicy
from lamina.core.policies import Int4DTypePolicy as Int4DTypePolicy
from lamina.core.policies import QuantizedDTypePolicy as QuantizedDTypePolicy
from lamina.core.policies import QuantizedFloat8DTypePolicy as QuantizedFloat8DTypePolicy
from lamina.core.policies import deserialize as deserialize
from lamina.core.policies import get as get
from lamina.core.policies import serialize as serialize
