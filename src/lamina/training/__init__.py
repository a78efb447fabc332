"""Training: compile, fit, evaluate, predict, and the steps they run."""

from lamina.training.hand_written import Step as Step
from lamina.training.trainer import Trainer as Trainer
