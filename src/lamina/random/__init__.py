"""Random tensors and generators of seeds: `lamina.random.normal((2, 3), seed=1)`.

Source: https://keras.io/api/random/
"""

from __future__ import annotations

from lamina.core.seeds import SeedGenerator as SeedGenerator
from lamina.ops.random import beta as beta
from lamina.ops.random import binomial as binomial
from lamina.ops.random import categorical as categorical
from lamina.ops.random import dropout as dropout
from lamina.ops.random import gamma as gamma
from lamina.ops.random import normal as normal
from lamina.ops.random import randint as randint
from lamina.ops.random import shuffle as shuffle
from lamina.ops.random import truncated_normal as truncated_normal
from lamina.ops.random import uniform as uniform
