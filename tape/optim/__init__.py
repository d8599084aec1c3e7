"""Optimizers, schedules of the learning rate, and the clipping of gradients."""

from tape.optim.adam import Adam, AdamW
from tape.optim.base import Optimizer
from tape.optim.clip import clip_grad_norm
from tape.optim.rmsprop import RMSprop
from tape.optim.schedule import CosineAnnealingLR, LinearWarmup, Schedule, StepLR
from tape.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LinearWarmup",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "StepLR",
    "clip_grad_norm",
]
