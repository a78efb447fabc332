"""lamina: the Keras API, native on PyTorch.

Models described the Keras way are `torch.nn.Module`s; `compile`, `fit`, `evaluate` and `predict` train and use them.
"""

from lamina.version import __version__ as __version__
from lamina.version import version as version
