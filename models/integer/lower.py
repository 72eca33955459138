"""From a model to a program: the operations that it has in common with its integer form."""

from __future__ import annotations

from torch import nn

# They register what they hold.
import models.integer.lower_layers
import models.integer.lower_plain  # noqa: F401
from models.errors import ModelError
from models.graph.stream import live_nodes
from models.graph.trace import graph_of
from models.integer.lowering import Lowered, Lowering
from models.integer.ops import Gives


def lowered(model: nn.Module) -> Lowered:
    """The program of a model whose norms are folded (``models.graph.fold.folded``).

    Raises:
        ModelError: The forward cannot be read, or an operation of it has no integer form.
    """
    graph = graph_of(model)
    made = Lowering(graph)
    for node in live_nodes(graph):
        made.add(node)
    logits = made.found[graph.logits]
    if not isinstance(logits, int) or made.shapes()[logits].moving:
        raise ModelError(
            "logits of each frame have no integer form; take the last one, or the mean over time"
        )
    said = made.as_format(logits, Gives.LOGITS, graph.logits.name)
    made.finish(said)
    return Lowered(tuple(made.ops), tuple(made.names), tuple(made.sources), made.dropouts)
