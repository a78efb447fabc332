"""Dtype policies: in which dtype layers compute, and in which they keep their weights."""

from lamina.core.policies import DTypePolicy as DTypePolicy
from lamina.core.policies import deserialize as deserialize
from lamina.core.policies import get as get
from lamina.core.policies import serialize as serialize
