"""Tensors of random numbers: each function takes `rng`, or draws from the generator of `seed`."""

from tape.ops.random import bernoulli, generator, integers, normal, permutation, seed, uniform

__all__ = ["bernoulli", "generator", "integers", "normal", "permutation", "seed", "uniform"]
