"""Training a small model on what a large one says.

Source: https://keras.io/api/distillation/
"""

from lamina.distillation.distiller import Distiller as Distiller
from lamina.distillation.losses import DistillationLoss as DistillationLoss
from lamina.distillation.losses import FeatureDistillation as FeatureDistillation
from lamina.distillation.losses import LogitsDistillation as LogitsDistillation
