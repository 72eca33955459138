"""What waits, and where values lie: against counts by hand, and against each value's readers."""

import itertools

import numpy as np
import pytest

from bench.ship.c_constants import strides
from bench.ship.c_plan import Plan
from models.integer.ops import Last, Program
from tests.programs import ATTENTION, CAUSAL, DEPTHWISE, PROGRAMS, RESIDUAL, SPLIT, filled
from tests.random_programs import random_program

DRAWN = {f"random {seed}": random_program(seed) for seed in range(40)}


@pytest.mark.parametrize(
    ("program", "arena_bytes", "least_bytes"),
    [
        # The convolution's 2 x 18 and the first GRU's 10; later ones need less.
        (ATTENTION, 46, 46),
        # 6 channels of 20 rows, read and given by the depthwise convolution.
        (DEPTHWISE, 240, 240),
        # Both sides of the sum and the sum, 7 each; the 6 that both came from leave a gap of 2.
        (RESIDUAL, 23, 21),
    ],
    ids=["attention", "depthwise", "residual"],
)
def test_scratch_memory_by_hand(program: Program, arena_bytes: int, least_bytes: int) -> None:
    plan = Plan(filled(program))
    assert (plan.arena_bytes, plan.least_arena_bytes) == (arena_bytes, least_bytes)
    assert Plan(filled(program, activations=16)).least_arena_bytes == 2 * least_bytes


@pytest.mark.parametrize("activations", [8, 16])
@pytest.mark.parametrize("name", {**PROGRAMS, **DRAWN})
def test_values_that_are_still_to_be_read_lie_apart(name: str, activations: int) -> None:
    program = {**PROGRAMS, **DRAWN}[name]
    plan = Plan(filled(program, activations))
    # What gathers reads with the frames, and gives its result later; the last frame stays where it was made.
    reads = [(at, set(program[at].inputs), not plan.model.shapes[at].moving) for at in plan.moving]
    events = [(None if gathers else at, inputs) for at, inputs, gathers in reads]
    events += [(at, set() if at in plan.gathers else set(program[at].inputs)) for at in plan.still]
    kept = {one for at in plan.gathers if isinstance(program[at], Last) for one in (at, *program[at].inputs)}
    lying: dict[int, range] = {}
    for place, (made, inputs) in enumerate(events):
        later = set().union(*(other for _, other in events[place + 1 :])) | kept
        lying = {one: where for one, where in lying.items() if one in inputs | later}
        if made in plan.slots and not isinstance(program[made], Last):
            slot, bits = plan.slots[made], plan.model.formats[made].bits
            assert slot.size == plan.model.shapes[made].size * bits // 8
            assert slot.start % (bits // 8) == 0
            new = set(range(slot.start, slot.start + slot.size))
            assert not any(new & set(where) for where in lying.values())
            lying[made] = range(slot.start, slot.start + slot.size)
    assert plan.least_arena_bytes <= plan.arena_bytes <= 1.5 * plan.least_arena_bytes


def test_what_waits_by_hand() -> None:
    # Of the sum's sides one hears 4 frames ahead, then 4 of the next rate: 12 frames, 6 steps.
    assert Plan(filled(RESIDUAL)).coming[5].depths == (0, 6)
    # A window of 5 frames, 2 of them ahead.
    assert Plan(filled(SPLIT)).coming[6].depths == (2, 0)
    for program in (ATTENTION, CAUSAL, DEPTHWISE):
        assert not any(any(one.depths) for one in Plan(filled(program)).coming.values())


def test_orders_as_two_loops() -> None:
    rng = np.random.default_rng(0)
    for size in itertools.product((1, 2, 5), (1, 3, 4)):
        turned = tuple(np.arange(100)[7 : 7 + np.prod(size)].reshape(size).T.flatten().tolist())
        found = strides(turned)
        assert found is not None
        outer, by_outer, inner, by_inner = found
        assert turned == tuple(7 + i * by_outer + j * by_inner for i in range(outer) for j in range(inner))
    assert strides(tuple(rng.permutation(30).tolist())) is None
