"""A device that every machine has: it computes as the CPU does, and refuses what a card would refuse.

Tensors there say that they are on ``far:0``. In one operation with tensors of the CPU they are an error, and
NumPy does not take them. So what runs here is on the right device whatever the device is; how a card's own
kernels round, and how fast they are, it cannot say.

Recent versions of torch let a backend be written in Python, under the name that is kept for devices from
outside. It has to be there before anything is differentiated, so ``conftest.py`` imports this file.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_map

KIND = "far"
REGISTERS = "_setup_privateuseone_for_python_backend"
HERE = hasattr(backend_registration, REGISTERS)
DEVICE = torch.device("privateuseone", 0)
# What carries numbers from one device to another.
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Far(Tensor):
    """A tensor of the device; its numbers are in a tensor of the CPU."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        found: Far = Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=DEVICE,
        )
        found.near = near
        return found

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        return compute(operation, *given, **(named or {}))

    def __repr__(self) -> str:
        return f"Far({self.near!r})"


def compute(operation: Any, *given: Any, **named: Any) -> Any:
    """An operation on tensors of the device, or one that makes some there.

    Raises:
        RuntimeError: Some of the tensors are not there.
    """
    seen: list[Tensor] = []

    def near(value: Any) -> Any:
        if isinstance(value, Tensor):
            seen.append(value)
        return value.near if isinstance(value, Far) else value

    arguments, options = tree_map(near, given), tree_map(near, named)
    far = any(isinstance(tensor, Far) for tensor in seen)
    # A single number may come from the CPU, as with a card.
    strangers = [tensor for tensor in seen if tensor.dim() and not isinstance(tensor, Far)]
    if far and strangers and operation not in MOVES:
        raise RuntimeError(f"{operation}: a tensor {tuple(strangers[0].shape)} is on the CPU, others are not")
    if options.get("device") is not None:
        far = torch.device(options["device"]).type != "cpu"
        options["device"] = torch.device("cpu")
    result = OWN.get(operation, operation)(*arguments, **options)
    with torch.inference_mode(False):  # torch cannot count the versions of views of such wrappers
        found = tree_map(lambda value: Far(value) if far and isinstance(value, Tensor) else value, result)
    # What was written to is what comes back, and views know whose they are.
    return return_and_correct_aliasing(operation, given, named, found) if far and seen else found


def gru_cell(
    read: Tensor, recurrent: Tensor, state: Tensor, bias: Tensor | None = None, second: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A step of a GRU in one operation, as cards have it: the next state, and what its gradient needs."""
    read, recurrent = (x if b is None else x + b for x, b in ((read, bias), (recurrent, second)))
    (in_r, in_z, in_n), (rec_r, rec_z, rec_n) = read.chunk(3, 1), recurrent.chunk(3, 1)
    reset, update = torch.sigmoid(in_r + rec_r), torch.sigmoid(in_z + rec_z)
    new = torch.tanh(in_n + reset * rec_n)
    return (state - new) * update + new, torch.cat([reset, update, new, state, rec_n], 1)


def gru_cell_backward(
    gradient: Tensor, kept: Tensor, biased: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients of both products, of the state and of both biases."""
    reset, update, new, state, rec_n = kept.chunk(5, 1)
    of_update = gradient * (state - new) * (1 - update) * update
    of_new = gradient * (1 - update) * (1 - new**2)
    of_reset = of_new * rec_n * (1 - reset) * reset
    read = torch.cat([of_reset, of_update, of_new], 1)
    recurrent = torch.cat([of_reset, of_update, of_new * reset], 1)
    sums = (read.sum(0), recurrent.sum(0)) if biased else (None, None)
    return read, recurrent, gradient * update, *sums


# Operations of cards that the CPU has not.
OWN = {
    torch.ops.aten._thnn_fused_gru_cell.default: gru_cell,
    torch.ops.aten._thnn_fused_gru_cell_backward.default: gru_cell_backward,
}

if HERE:
    getattr(backend_registration, REGISTERS)(KIND)
    _LIBRARY = torch.library.Library("_", "IMPL")
    _LIBRARY.fallback(compute, "PrivateUse1")
    # torch.tensor looks past what is written in Python, but for what is registered by name.
    _OPERATIONS = torch.library.Library("aten", "IMPL")
    _OPERATIONS.impl("copy_", partial(compute, torch.ops.aten.copy_.default), "PrivateUse1")
