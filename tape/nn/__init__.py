"""Modules, layers and initialisers."""

from tape.nn import init
from tape.nn.container import Flatten, For, Lambda, Sequential
from tape.nn.conv import AvgPool2d, Conv2d, MaxPool2d
from tape.nn.dropout import Dropout
from tape.nn.embed import Embedding
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from tape.nn.parameter import Parameter, Uninferred

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "For",
    "Lambda",
    "LayerNorm",
    "MaxPool2d",
    "Module",
    "Parameter",
    "Sequential",
    "Uninferred",
    "init",
]
