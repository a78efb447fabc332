"""Dtype policies under the name older scripts know them by."""

from lamina.core.policies import DTypePolicy as DTypePolicy
from lamina.core.policies import DTypePolicy as Policy
from lamina.core.policies import dtype_policy as dtype_policy
from lamina.core.policies import dtype_policy as global_policy
from lamina.core.policies import set_dtype_policy as set_dtype_policy
from lamina.core.policies import set_dtype_policy as set_global_policy
from lamina.optimizers import LossScaleOptimizer as LossScaleOptimizer
