"""Binary layers, transformed and lowered: the optimisations, and the proof that nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.state import no_grad
from tape._core.tensor import Tensor
from tape._kernels.bits import PackedBits, unpack
from tape.errors import TapeError
from tape.netopt.finite import finite
from tape.netopt.frame import Optimization
from tape.netopt.judge import Kept, Place
from tape.netopt.quantization.binary_layers import BinaryConv2d, BinaryDense, SignSettings
from tape.netopt.quantization.chain import chained
from tape.netopt.quantization.native import Native, NativeBinaryConv2d, NativeBinaryDense, Passed
from tape.netopt.quantization.sign_conv import SignConv2d
from tape.netopt.record import record
from tape.nn.conv import Conv2d, Convolution
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.replace import replace
from tape.nn.tree import below

__all__ = ["Binarize", "BinarizeConvolution", "BinarizeDense"]

NATIVE = {BinaryConv2d: NativeBinaryConv2d, BinaryDense: NativeBinaryDense}


class Binarize(Optimization):
    """Layers on signs, one bit each.

    Args:
        x: a batch, or a tuple of operands, on which lowering is checked; None draws some.
        check: whether lowered layers are held against trained ones.
        pass_bits: whether lowered layers in a row pass bits to each other.
        **signs: the settings of new layers, see `SignSettings`.
    """

    def __init__(
        self, x: Any = None, check: bool = True, pass_bits: bool = True, **signs: Any
    ) -> None:
        self.x, self.is_checked, self.pass_bits = x, bool(check), bool(pass_bits)
        self.signs = signs
        probe = SignSettings()
        probe.set_signs(**signs)

    def lower(self, layer: Any, at: Place) -> Module | None:
        """What computes in the place of a trained layer; for the whole, all of it."""
        if not at.path:
            list(layer.named_parameters())  # raises for those without a size
        if type(layer) in NATIVE:
            made = at.shared.get(id(layer))
            return native(layer, at.path, self.is_checked) if made is None else made
        if at.path or not self.pass_bits:
            return None
        found = [(path, m) for path, m in layer.named_modules() if type(m) in NATIVE]
        if not found:
            return None
        made = {id(m): native(m, path, self.is_checked) for path, m in found}
        at.shared.update(made)  # the model holds on to these layers, so that the ids are theirs
        new = replace(layer, lambda m: id(m) in made, lambda m: made[id(m)].clone())
        new = chained(new).eval()
        if self.is_checked:
            others = dict(layer.named_modules())
            for path, m in new.named_modules():
                if isinstance(m, SignConv2d):
                    check_signs(path, others[path], m)
        if self.is_checked and self.x is not None:
            prove(layer, new, self.x)
        return new

    def describe(self, new: Any) -> str:
        """What the layer has become."""
        if isinstance(new, Native):
            return "1 bit" if new.least is None else "1 bit, gives bits"
        if isinstance(new, SignSettings):
            return f"signs, scale {new.scale}" if new.scale else "signs"
        n = sum(getattr(m, "least", None) is not None for m in below(new) if isinstance(m, Native))
        n += sum(isinstance(m, SignConv2d) for m in below(new))
        return f"{n} layers give bits"


class BinarizeConvolution(Binarize):
    """Convolutions of signs, one bit each."""

    kinds = (Conv2d,)

    def transform(self, layer: Any, at: Place) -> Module | Kept:
        """The binary layer that trains."""
        if not layer.weight.size:
            return Kept("has no weights")
        finite(f"binarize_convolution: {at.path or 'the layer'}.weight", layer.weight.numpy())
        new = BinaryConv2d(
            layer.n_out,
            layer.kernel,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            layer.bias is not None,
            layer.activation,
            dtype=layer.weight.dtype,
            **self.signs,
        )
        new.weight, new.bias = layer.weight, layer.bias
        return new


class BinarizeDense(Binarize):
    """Dense layers of signs, one bit each."""

    kinds = (Dense,)

    def transform(self, layer: Any, at: Place) -> Module | Kept:
        """The binary layer that trains."""
        if not layer.weight.size:
            return Kept("has no weights")
        finite(f"binarize_dense: {at.path or 'the layer'}.weight", layer.weight.numpy())
        new = BinaryDense(
            layer.n_out,
            None,
            layer.activation,
            layer.bias is not None,
            dtype=layer.weight.dtype,
            **self.signs,
        )
        new.weight, new.bias = layer.weight, layer.bias
        return new


def native(layer: Any, path: str, is_checked: bool) -> Native:
    """The lowered layer, held against the trained one on drawn numbers.

    Raises:
        NumericsError: the weight has NaN or infinity.
        TapeError: results differ.
    """
    finite(f"lower: {path or 'the layer'}.weight", layer.weight.numpy())
    new = NATIVE[type(layer)](layer)
    if is_checked:
        x = drawn(layer)
        with no_grad():
            y, found = layer(x).numpy(), new(x).numpy()
        if not np.array_equal(y, found, equal_nan=True):
            raise TapeError(
                f"lower: {path or 'the layer'} lowered differs from the trained layer in "
                f"{int(np.count_nonzero(y != found))} of {y.size} numbers"
            )
    return new


def check_signs(path: str, layer: Any, low: SignConv2d) -> None:
    """Raise TapeError unless the signs of a convolution are those of its results."""
    x = drawn(layer)
    with no_grad():
        expected = signs_of_operand(layer(x), low.zero)
        found = signs_of_operand(low(x), low.zero)
    n = int(np.count_nonzero(expected != found))
    if n:
        raise TapeError(
            f"lower: {n} of the {expected.size} signs that {path or 'the layer'} gives lowered "
            "differ from those of the trained layer"
        )


def drawn(layer: Any) -> Tensor:
    """An input for a layer: numbers of both signs, and zeros."""
    rng = np.random.default_rng(0)
    shape: tuple[Any, ...] = (3, layer.n_in)
    if isinstance(layer, Convolution):
        steps = zip(layer.kernel, layer.stride, layer.dilation, strict=True)
        sides = (2 + d * (k - 1) + s for k, s, d in steps)
        shape = (2, layer.n_in, *sides)
    return Tensor(rng.integers(-2, 3, shape).astype(layer.weight.dtype))


def prove(model: Module, new: Module, x: Any) -> None:
    """Raise TapeError unless the signs that come to each layer are the same in both models."""
    before, after = record(model, x)[1], record(new, x)[1]
    others = dict(new.named_modules())
    layer: Any
    for path, layer in model.named_modules():
        if type(layer) not in NATIVE:
            continue
        low: Any = others[path]
        pairs = zip(before.get(id(layer), ()), after.get(id(low), ()), strict=True)
        for call, lowered in pairs:
            expected = signs_of_operand(call.operand, layer.zero)
            found = signs_of_operand(lowered.operand, layer.zero)
            turned = low.turned
            if turned is not None:
                found = found.reshape(found.shape[0], turned.size, -1)
                found = np.where(turned[:, None], -found, found)
            n = int(np.count_nonzero(expected.reshape(-1) != found.reshape(-1)))
            if n:
                raise TapeError(
                    f"lower: {n} of the {expected.size} signs that come to {path or 'the layer'} "
                    "differ from those in the trained model"
                )


def signs_of_operand(x: Any, zero: int) -> np.ndarray:
    """The signs that a layer takes from what it is given."""
    bits = x.bits if isinstance(x, Passed) else x
    if isinstance(bits, PackedBits):
        return unpack(bits, "float32")
    array = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
    return np.where(array > 0 if zero == -1 else ~(array < 0), np.float32(1), np.float32(-1))
