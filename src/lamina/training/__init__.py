"""Training: compile, fit, evaluate, predict, and the steps they run."""

from lamina.training.trainer import Trainer as Trainer
