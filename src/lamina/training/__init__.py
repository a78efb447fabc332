"""Training: compile, fit, evaluate, predict, and the steps they run."""

from lamina.training.batch_sizes import BatchSizes as BatchSizes
from lamina.training.batch_sizes import BatchSizeTry as BatchSizeTry
from lamina.training.hand_written import Step as Step
from lamina.training.trainer import Trainer as Trainer
