"""Models whose layers are products of two thin ones, as their specification says; and a GRU that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_parameter_registration_hook

from models.base import KwsModel, ModelSpec
from models.errors import ModelError
from models.thin import (
    Factors,
    SparseLinear,
    Whole,
    fill,
    is_pointwise,
    linears,
    most_rank,
    product,
    sides,
    thin_linear,
)

ModelT = TypeVar("ModelT", bound=KwsModel)


class FactoredGru(nn.Module):
    """``nn.GRU`` with W = U V of low rank, batch first; step for step the same function as with the product.

    Torch's fused kernel runs on the product of the recurrent factors, made once a call, because a step of
    its own for each frame is ten times slower there; a device computes V h and then U of it, which is what
    ``macs_per_frame`` counts. Once the linear layers are converted, each frame is a step over them.

    Source: Prabhavalkar et al., "On the Compression of Recurrent Neural Networks with an Application to
    LVCSR Acoustic Modeling for Embedded Speech Recognition", 2016; Kusupati et al., "FastGRNN", 2018, of
    whose sparse factors this has the last phase, training on a support that stays.

    Attributes:
        input: W of each layer, (3H, I), gates r, z, n.
        recurrent: The matrix that reads the state, (3H, H).
    """

    def __init__(self, gru: nn.GRU, *, input_rank: int, recurrent_rank: int, sparsity: float) -> None:
        """With the sizes of a GRU, and none of its weights yet; a rank of 0 keeps a matrix whole.

        ``sparsity`` is the share of each factor, or whole matrix, that is zero.
        """
        super().__init__()
        hidden = gru.hidden_size
        self.hidden_size, self.num_layers, self.dropout = hidden, gru.num_layers, gru.dropout
        widths = [gru.input_size] + [hidden] * (gru.num_layers - 1)
        self.input = nn.ModuleList(thin_linear(width, 3 * hidden, input_rank, sparsity) for width in widths)
        self.recurrent = nn.ModuleList(
            thin_linear(hidden, 3 * hidden, recurrent_rank, sparsity) for _ in widths
        )

    def load_whole(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights of an ``nn.GRU`` of this size, cut to the ranks by a truncated SVD."""
        for name, matrices in (("ih", self.input), ("hh", self.recurrent)):
            for layer, matrix in enumerate(matrices):
                fill(matrix, weights[f"weight_{name}_l{layer}"], weights[f"bias_{name}_l{layer}"])

    def whole_weights(self) -> dict[str, Tensor]:
        """The weights of the ``nn.GRU`` that computes the same."""
        weights = {}
        for name, matrices in (("ih", self.input), ("hh", self.recurrent)):
            for layer, matrix in enumerate(matrices):
                weights[f"weight_{name}_l{layer}"] = product(matrix).detach().clone()
                weights[f"bias_{name}_l{layer}"] = linears(matrix)[-1].bias.detach().clone()
        return weights

    @property
    def macs_per_frame(self) -> int:
        """Products and biases of the factors, without those with zeros that are known ahead, and 7
        element-wise steps a unit, as ptflops counts a GRU.
        """
        each = [linear for matrix in (*self.input, *self.recurrent) for linear in linears(matrix)]
        products = sum(
            int((linear.values if isinstance(linear, SparseLinear) else linear.weight).numel())
            for linear in each
        )
        return products + (6 + 7) * self.hidden_size * self.num_layers

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``nn.GRU``: inputs (B, T, I), state (layers, B, H) -> outputs (B, T, H), the next state."""
        if hidden is None:
            hidden = inputs.new_zeros(self.num_layers, inputs.shape[0], self.hidden_size)
        own = (nn.Linear, SparseLinear)
        converted = any(type(linear) not in own for linear in linears(self.recurrent[0]))
        run = self._stepped if converted else self._fused
        last = []
        for layer, state in enumerate(hidden.unbind(0)):
            if layer:
                inputs = functional.dropout(inputs, self.dropout, self.training)
            inputs, state = run(layer, inputs, state)
            last.append(state)
        return inputs, torch.stack(last)

    def _fused(self, layer: int, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One layer by torch's kernel."""
        *down, up = linears(self.input[layer])
        recurrent = self.recurrent[layer]
        for thin in down:
            inputs = thin(inputs)
        weights = [up.weight, product(recurrent), up.bias, linears(recurrent)[-1].bias]
        outputs, last = torch.gru(
            inputs, state.unsqueeze(0), weights, True, 1, 0.0, self.training, False, True
        )
        return outputs, last.squeeze(0)

    def _stepped(self, layer: int, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One layer frame by frame, through whatever its linear layers have become."""
        outputs = []
        for frame in inputs.unbind(1):
            in_r, in_z, in_n = self.input[layer](frame).chunk(3, -1)
            rec_r, rec_z, rec_n = self.recurrent[layer](state).chunk(3, -1)
            update = torch.sigmoid(in_z + rec_z)
            candidate = torch.tanh(in_n + torch.sigmoid(in_r + rec_r) * rec_n)
            state = candidate + update * (state - candidate)
            outputs.append(state)
        return torch.stack(outputs, 1), state


def grus(model: nn.Module) -> dict[str, nn.GRU]:
    """The GRUs of a model that can be factored, by path: batch first, one way, with biases."""
    return {path: layer for path, layer in model.named_modules() if _can_be_factored(layer)}


def pointwise(model: nn.Module) -> dict[str, Whole]:
    """The linear layers and pointwise convolutions of a model, by path, in its order."""
    return {path: layer for path, layer in model.named_modules() if is_pointwise(layer)}


def built(kind: Callable[[Any], ModelT], spec: ModelSpec, *, check: bool = True) -> ModelT:
    """A freshly initialised model of a class, with the factors that its specification asks for.

    It starts from the truncated SVD of the whole model's own fresh weights.

    Args:
        kind: The class; it builds the whole model and knows nothing of factors.
        spec: The architecture.
        check: Refuse ranks that make a matrix no smaller; not where only shapes are asked for, or what is of
            no use is taken out afterwards.

    Raises:
        ModelError: A rank that makes nothing smaller, or that there is no layer for.
    """
    if spec == spec.whole:
        return kind(spec)
    thin: dict[nn.Module, FactoredGru | Factors] = {}

    def thin_first(layer: nn.Module, _name: str, _parameter: object) -> None:
        # Factors draw before the GRU that they replace, so that seeded models stay what they have been.
        if spec.factored_gru and _can_be_factored(layer) and layer not in thin:
            thin[layer] = _factored_gru(layer, spec, check)

    watch = register_module_parameter_registration_hook(thin_first)
    try:
        model = kind(spec)
    finally:
        watch.remove()
    name = type(model).__name__
    if spec.factored_gru and not grus(model):
        raise ModelError(f"{name} has no GRU that can be factored; input_rank and recurrent_rank must be 0")
    thin |= _factored_layers(model, spec.layer_ranks, check)
    for path, layer in list(model.named_modules(remove_duplicate=False)):
        if layer in thin:
            if not any(parameter.is_meta for parameter in layer.parameters()):
                thin[layer].load_whole(layer.state_dict())
            above, _, last = path.rpartition(".")
            setattr(model.get_submodule(above), last, thin[layer])
    return model


def _can_be_factored(layer: nn.Module) -> TypeGuard[nn.GRU]:
    return type(layer) is nn.GRU and layer.batch_first and layer.bias and not layer.bidirectional


def _factored_gru(gru: nn.GRU, spec: ModelSpec, check: bool) -> FactoredGru:
    gates = 3 * gru.hidden_size
    if check:
        widths = [gru.input_size] + [gru.hidden_size] * (gru.num_layers > 1)
        _check("input_rank", spec.input_rank, "the GRU", [(gates, width) for width in widths])
        _check("recurrent_rank", spec.recurrent_rank, "the GRU", [(gates, gru.hidden_size)])
    return FactoredGru(
        gru, input_rank=spec.input_rank, recurrent_rank=spec.recurrent_rank, sparsity=spec.sparsity
    )


def _factored_layers(model: nn.Module, ranks: tuple[int, ...], check: bool) -> dict[nn.Module, Factors]:
    layers = pointwise(model)
    if ranks and len(ranks) != len(layers):
        raise ModelError(
            f"layer_ranks has {len(ranks)} numbers, and {type(model).__name__} {len(layers)} linear layers "
            f"and pointwise convolutions; give one for each: {', '.join(layers)}"
        )
    found: dict[nn.Module, Factors] = {}
    for (path, layer), rank in zip(layers.items(), ranks, strict=False):
        if check:
            _check("layer_ranks", rank, path, [sides(layer)])
        if rank:
            found[layer] = Factors.like(layer, rank)
    return found


def _check(field: str, rank: int, what: str, sizes: Iterable[tuple[int, int]]) -> None:
    most = min(most_rank(*size) for size in sizes)
    if not 0 <= rank <= most:
        smaller = f"1 to {most} do" if most else "none does"
        raise ModelError(f"{field}={rank} makes {what} no smaller; {smaller}, and 0 keeps its matrices whole")


def factored_layers(module: nn.Module, path: str = "") -> Iterator[tuple[str, FactoredGru | Factors]]:
    """All layers of a model that are factored, with their paths; the matrices of a GRU are one layer."""
    # Not named_children, which knows one place of a layer that stands in two.
    for name, child in module._modules.items():
        if isinstance(child, FactoredGru | Factors):
            yield path + name, child
        elif child is not None:
            yield from factored_layers(child, f"{path}{name}.")


def start_from(model: KwsModel, trained: KwsModel) -> None:
    """Takes over the weights of a model that differs in its ranks at most; else leaves all as it is.

    Factors start from the truncated SVD of the trained matrices.
    """
    if trained.spec == model.spec:
        model.load_state_dict(trained.state_dict())
    elif trained.spec.whole == model.spec.whole:
        weights = whole(trained).state_dict()
        for path, layer in factored_layers(model):
            layer.load_whole(_taken(weights, path))
        model.load_state_dict(weights, strict=False)


def whole(model: ModelT) -> ModelT:
    """A model with whole matrices that computes the same; itself where it has them already."""
    return model if model.spec == model.spec.whole else _multiplied_out(model, model.spec.whole)


def without_useless(model: ModelT) -> ModelT:
    """A model that computes the same without pairs of layers that are no smaller than one; it evaluates.

    Raises:
        ModelError: It is a GRU's factors that are not, or all that there are.
    """
    if model.spec == model.spec.whole:
        return model.eval()
    with torch.random.fork_rng(devices=[]):
        layers = pointwise(type(model)(model.spec.whole)).values()
    ranks = tuple(
        rank if rank <= most_rank(*sides(layer)) else 0
        for layer, rank in zip(layers, model.spec.layer_ranks, strict=False)
    )
    if not (any(ranks) or model.spec.factored_gru):
        raise ModelError("after the cut no layer is smaller as two factors; give a lower rank")
    return _multiplied_out(model, replace(model.spec, layer_ranks=ranks if any(ranks) else ()))


def _multiplied_out(model: ModelT, spec: ModelSpec) -> ModelT:
    """A model with some of a model's factors, and the products of the others."""
    with torch.random.fork_rng(devices=[]):
        found = built(type(model), spec)
    weights, thin = model.state_dict(), dict(factored_layers(found))
    for path, layer in factored_layers(model):
        if path not in thin:
            _taken(weights, path)
            weights |= {f"{path}.{name}": tensor for name, tensor in layer.whole_weights().items()}
    found.load_state_dict(weights)
    return found.eval()


def _taken(weights: dict[str, Any], path: str) -> dict[str, Tensor]:
    """What stands below a path, taken out."""
    below = [name for name in weights if name.startswith(f"{path}.")]
    return {name.removeprefix(f"{path}."): weights.pop(name) for name in below}
