"""What a model takes, told before it is built: a size out of all bounds must cost neither time nor memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from models.base import KwsModel, ModelSpec, count_params, example_input, mels_of
from models.errors import ModelError
from models.registry import build

# Of weights, gradients and activations while it learns.
MOST_TRAINING_BYTES = 10**9
# A GRU of that many takes a second to describe, and the time grows with their square.
MOST_TENSORS = 10_000
# A float32 weight, its gradient, and the two moments that Adam keeps of it.
BYTES_A_PARAMETER = 4 * 4


def unbuilt(spec: ModelSpec) -> KwsModel:
    """A model that is described on torch's meta device, where tensors have no memory.

    Raises:
        ModelError: It has more tensors than can be described in a second.
        Exception: Whatever torch raises on sizes that it has no numbers for.
    """
    tensors = 0

    def count(module: torch.nn.Module, name: str, parameter: Any) -> None:
        nonlocal tensors
        tensors += 1
        if tensors > MOST_TENSORS:
            raise ModelError(f"a model of more than {MOST_TENSORS:,} weight tensors; give smaller sizes")

    watch = register_module_parameter_registration_hook(count)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return build(spec)
    finally:
        watch.remove()


def count_unbuilt(spec: ModelSpec) -> int:
    """Parameters of a model that is described only; see ``unbuilt``."""
    return count_params(unbuilt(spec))


def layers_of(spec: ModelSpec) -> KwsModel:
    """A model to look at: described only, or built where its family computes with values meanwhile.

    Raises:
        ModelError: It cannot be built.
    """
    try:
        return unbuilt(spec)
    except ModelError:
        raise
    except Exception:
        try:
            with torch.random.fork_rng(devices=[]):
                return build(spec)
        except Exception as error:
            raise _too_large(error) from None


def refuse_larger(spec: ModelSpec, base: ModelSpec) -> None:
    """Refuses an architecture with more parameters than the base: no compression, and no bound to its size.

    A family that computes with values while it is built cannot be counted ahead, and is let through.

    Raises:
        ModelError: How many there are, and how many there may be.
    """
    if spec == base:
        return
    try:
        most = count_unbuilt(base)
    except Exception:
        return
    try:
        found = count_unbuilt(spec)
    except ModelError:
        raise
    except Exception as error:  # the base could be counted, so it is the sizes
        raise _too_large(error) from None
    if found > most:
        raise ModelError(
            f"a model of {found:,} parameters, more than the base's {most:,}; give smaller sizes"
        )


def _too_large(error: Exception) -> ModelError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelError(f"a model of these sizes cannot be built ({reason[:100]})")


def training_bytes(model: KwsModel, batch: int, frames: int) -> int:
    """About what a step of training holds in memory.

    Of each parameter the weight, its gradient and two moments; of each clip all that autograd keeps of the
    forward pass, and as much again for the gradients of it on the way back. Of the peaks that were measured
    that is 0.4 to 0.9; the rest is scratch space of torch's kernels, which no count knows.

    Args:
        model: A small one: it hears a few clips of zeros in training mode.
        batch: Clips B a step.
        frames: Of a clip.
    """
    heard = (example_input(clips, frames, mels_of(model)) for clips in (2, 4))
    few, more = (_kept_bytes(model.train(), clips) for clips in heard)
    a_clip = (more - few) // 2
    return BYTES_A_PARAMETER * count_params(model) + 2 * a_clip * batch


def _kept_bytes(model: KwsModel, log_mel: Tensor) -> int:
    """Bytes that autograd keeps of a forward pass, each storage once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # kept alive: the key is an address
        return tensor

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        model(log_mel)
    return sum(storage.nbytes() for storage in kept.values())
