"""lamina: the Keras API, native on PyTorch.

Models described the Keras way are `torch.nn.Module`s; `compile`, `fit`, `evaluate` and `predict` train and use them.
"""

from lamina import activations as activations
from lamina import backend as backend
from lamina import callbacks as callbacks
from lamina import config as config
from lamina import constraints as constraints
from lamina import datasets as datasets
from lamina import distillation as distillation
from lamina import dtype_policies as dtype_policies
from lamina import initializers as initializers
from lamina import layers as layers
from lamina import legacy as legacy
from lamina import losses as losses
from lamina import metrics as metrics
from lamina import mixed_precision as mixed_precision
from lamina import models as models
from lamina import ops as ops
from lamina import optimizers as optimizers
from lamina import preprocessing as preprocessing
from lamina import quantizers as quantizers
from lamina import random as random
from lamina import regularizers as regularizers
from lamina import saving as saving
from lamina import tree as tree
from lamina import utils as utils
from lamina import visualization as visualization
from lamina import wrappers as wrappers
from lamina.core.policies import DTypePolicy as DTypePolicy
from lamina.core.policies import DTypePolicy as FloatDTypePolicy
from lamina.core.rematerialization import RematScope as RematScope
from lamina.core.rematerialization import remat as remat
from lamina.core.scopes import SymbolicScope as SymbolicScope
from lamina.core.scopes import name_scope as name_scope
from lamina.core.stateless import StatelessScope as StatelessScope
from lamina.core.tensors import device as device
from lamina.core.variable import Variable as Variable
from lamina.graph.operation import Function as Function
from lamina.graph.operation import Operation as Operation
from lamina.graph.tensor import KerasTensor as KerasTensor
from lamina.initializers import Initializer as Initializer
from lamina.layers.base import Layer as Layer
from lamina.layers.input import Input as Input
from lamina.layers.input_spec import InputSpec as InputSpec
from lamina.losses import Loss as Loss
from lamina.metrics import Metric as Metric
from lamina.models.model import Model as Model
from lamina.models.sequential import Sequential as Sequential
from lamina.optimizers import Optimizer as Optimizer
from lamina.quantizers import Quantizer as Quantizer
from lamina.regularizers import Regularizer as Regularizer
from lamina.version import __version__ as __version__
from lamina.version import version as version
