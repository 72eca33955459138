"""docs/integer-model.md once more, in whole numbers of plain Python, one number at a time.

It shares no arithmetic with the models: only the fields of operations, steps, stored weights and scales.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from models.integer.model import IntegerModel
from models.integer.ops import (
    Act,
    Add,
    Attend,
    Concat,
    Conv,
    Gives,
    Gru,
    Input,
    Last,
    MeanTime,
    Mul,
    Op,
    Pick,
    Pool,
    Window,
)

SIGMOID = [round(32768 / (1 + math.exp(-(i - 128) / 16))) for i in range(257)]
POWER = [round(32768 * 2.0 ** (-i / 32)) for i in range(33)]
Frame = list[int]


class Format(NamedTuple):
    step: float
    bits: int
    zero: int = 0


class Value(NamedTuple):
    """Frames; of what does not move, one for each decision."""

    channels: int
    rows: int
    form: Format
    frames: list[Frame]


def sat(value: int, bits: int) -> int:
    return min(max(value, -(1 << (bits - 1))), (1 << (bits - 1)) - 1)


def rshift(value: int, bits: int) -> int:
    return (value + (1 << (bits - 1))) >> bits


def requantize(total: int, scale: tuple[int, int], bits: int) -> int:
    return sat(rshift(total * scale[0], scale[1]), bits)


def scale_of(ratio: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(ratio)
    multiplier, shift = round(fraction * 2**31), 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift - 1
    if shift > 62:
        multiplier, shift = 2**30, 62
    assert shift >= 1
    assert 2**30 <= multiplier < 2**31
    return multiplier, shift


def sigmoid(value: int) -> int:
    assert -32768 <= value <= 32767
    i, r = (value + 32768) >> 8, (value + 32768) & 255
    return SIGMOID[i] + (((SIGMOID[i + 1] - SIGMOID[i]) * r + 128) >> 8)


def tanh(value: int) -> int:
    return 2 * sigmoid(sat(2 * value, 16)) - 32768


def power(below: int) -> int:
    i, r = (below & 1023) >> 5, below & 31
    return (POWER[i] - (((POWER[i] - POWER[i + 1]) * r + 16) >> 5)) >> (below >> 10)


class Document:
    """A model.

    Attributes:
        buffer: Frames that a stream looks back on; None for a clip.
    """

    def __init__(self, model: IntegerModel, buffer: int | None) -> None:
        self.model, self.wide, self.buffer = model, model.activations, buffer
        self.state = Format(2.0 ** (1 - self.wide), self.wide)
        self.pre = Format(2.0**-12, 16)

    def values(self, log_mel: Any) -> list[Value]:
        found: list[Value] = []
        for at, op in enumerate(self.model.program):
            if isinstance(op, Input):
                bits, zero = (3, 40) if self.wide == 8 else (10, 0)
                heard = log_mel.T.tolist()
                frames = [[self.quantized(one, bits, zero) for one in frame] for frame in heard]
                found.append(Value(1, op.mels, Format(2.0**-bits, self.wide, zero), frames))
            else:
                run: Callable[..., Value] = getattr(self, type(op).__name__.lower())
                found.append(run(op, at, [found[one] for one in op.inputs]))
        return found

    def quantized(self, value: float, bits: int, zero: int) -> int:
        if math.isinf(value):
            value = math.copysign(1e30, value)
        return sat(round(value * 2**bits) + zero, self.wide)

    def own(self, at: int) -> Format:
        """The format of a result that is rounded."""
        op: Any = self.model.program[at]
        if op.gives is Gives.ENERGY:
            return Format(2.0**-10 / 1.4426950408889634, 16)
        if op.gives is Gives.LOGITS:
            return Format(2.0**-16, 32)
        if op.act in (Act.TANH, Act.SIGMOID):
            return self.state
        return Format(float(self.model.steps[at]), self.wide)

    def target(self, at: int) -> Format:
        op: Any = self.model.program[at]
        return self.pre if op.act in (Act.TANH, Act.SIGMOID, Act.SILU) else self.own(at)

    def read(self, value: int) -> int:
        return sat(rshift(value, 8), 8) if self.wide == 8 else value

    def finish(self, value: int, at: int) -> int:
        op: Any = self.model.program[at]
        form = self.own(at)
        if op.act is Act.RELU:
            return max(value, 0)
        if op.act is Act.RELU6:
            return min(max(value, 0), round(6 / form.step), 2 ** (form.bits - 1) - 1)
        if op.act is Act.TANH:
            return self.read(tanh(value))
        if op.act is Act.SIGMOID:
            return self.read(sigmoid(value))
        if op.act is Act.SILU:
            return requantize(value * sigmoid(value), scale_of(2.0**-27 / form.step), form.bits)
        return value

    def rows_of(self, at: int, number: int, given: Format, gives: Format) -> list[tuple[Frame, int, Any]]:
        """Weights, bias, multiplier and shift of each row of a matrix."""
        tensor, found = self.model.tensors[at][number], []
        biases = [0.0] * len(tensor.scale) if tensor.bias is None else tensor.bias.tolist()
        for weights, s, b in zip(tensor.weight.tolist(), tensor.scale.tolist(), biases, strict=True):
            bias = round(b / (s * given.step)) - given.zero * sum(weights)
            reach = sum(map(abs, weights)) << (given.bits - 1)
            assert reach + abs(bias) < 2**31
            found.append((weights, bias, scale_of(s * (given.step / gives.step))))
        return found

    def product(self, rows: Any, x: Sequence[int], bits: int) -> Frame:
        found = []
        for weights, bias, scale in rows:
            total = bias + sum(w * v for w, v in zip(weights, x, strict=True))
            found.append(requantize(total, scale, bits))
        return found

    def window(self, op: Window, value: Value, fill: int) -> tuple[int, int, Iterator[Any]]:
        """Channels read, rows given, and for each frame what reads number (channel, row, tap, tap)."""
        rows = op.rows or value.rows
        channels = len(value.frames[0]) // rows if value.frames else 0
        span = (op.kernel_mel - 1) * op.dilation_mel + 1
        rows_out = (rows + op.above + op.below - span) // op.stride_mel + 1
        span = (op.kernel_time - 1) * op.dilation_time + 1
        behind = op.after if self.buffer is None else 0
        count = max(0, (len(value.frames) + op.before + behind - span) // op.stride_time + 1)

        def reader(start: int) -> Callable[[int, int, int, int], int]:
            def number(channel: int, row: int, mel: int, time: int) -> int:
                t = start + time * op.dilation_time
                r = row * op.stride_mel + mel * op.dilation_mel - op.above
                if not (0 <= t < len(value.frames) and 0 <= r < rows):
                    return fill
                return value.frames[t][channel * rows + r]

            return number

        return channels, rows_out, (reader(k * op.stride_time - op.before) for k in range(count))

    def conv(self, op: Conv, at: int, given: list[Value]) -> Value:
        (value,), form = given, self.target(at)
        channels, rows_out, readers = self.window(op, value, value.form.zero)
        matrix = self.rows_of(at, 0, value.form, form)
        groups = op.groups or channels
        frames = []
        for number in readers:
            frame = []
            for out, (weights, bias, scale) in enumerate(matrix):
                each = channels // groups
                first = out // (op.channels // groups) * each
                for row in range(rows_out):
                    total, w = bias, iter(weights)
                    for channel in range(first, first + each):
                        for mel in range(op.kernel_mel):
                            for time in range(op.kernel_time):
                                total += next(w) * number(channel, row, mel, time)
                    frame.append(self.finish(requantize(total, scale, form.bits), at))
            frames.append(frame)
        return Value(op.channels, rows_out, self.own(at), frames)

    def pool(self, op: Pool, at: int, given: list[Value]) -> Value:
        (value,) = given
        fill = -(2 ** (value.form.bits - 1)) if op.largest else value.form.zero
        channels, rows_out, readers = self.window(op, value, fill)
        count = op.kernel_mel * op.kernel_time
        frames = []
        for number in readers:
            frame = []
            for channel in range(channels):
                for row in range(rows_out):
                    seen = [
                        number(channel, row, mel, time)
                        for mel in range(op.kernel_mel)
                        for time in range(op.kernel_time)
                    ]
                    if op.largest:
                        frame.append(max(seen))
                    else:
                        total = sum(seen) - count * value.form.zero
                        form = self.target(at)
                        scale = scale_of(value.form.step / count / form.step)
                        frame.append(self.finish(requantize(total, scale, form.bits), at))
            frames.append(frame)
        return Value(channels, rows_out, value.form if op.largest else self.own(at), frames)

    def gru(self, op: Gru, at: int, given: list[Value]) -> Value:
        (value,), inner = given, self.state
        if op.rank:
            inner = Format(float(self.model.steps[at]), self.wide)
        ih = [self.rows_of(at, number, value.form, self.pre) for number in range(3)]
        down = self.rows_of(at, 3, self.state, inner) if op.rank else []
        first = 4 if op.rank else 3
        hh = [self.rows_of(at, first + number, inner, self.pre) for number in range(3)]
        h, frames = [0] * op.hidden, []
        for x in value.frames:
            q = [self.read(one) for one in h]
            if op.rank:
                q = self.product(down, q, self.wide)
            i_r, i_z, i_n = (self.product(one, x, 16) for one in ih)
            h_r, h_z, h_n = (self.product(one, q, 16) for one in hh)
            for unit in range(op.hidden):
                r = sigmoid(sat(i_r[unit] + h_r[unit], 16))
                z = sigmoid(sat(i_z[unit] + h_z[unit], 16))
                n = tanh(sat(i_n[unit] + rshift(r * h_n[unit], 15), 16))
                h[unit] = rshift(z * h[unit] + (32768 - z) * n, 15)
                assert -32768 <= h[unit] <= 32767
            frames.append([self.read(one) for one in h])
        return Value(op.hidden, 1, self.state, frames)

    def factors(self, op: Op, at: int, given: list[Value]) -> tuple[list[int], int]:
        ratios = [one.form.step / self.target(at).step for one in given]
        shift = min(15 - math.frexp(max(ratios))[1], 46)
        assert shift >= 1
        signs = [-1 if getattr(op, "minus", 0) >> i & 1 else 1 for i in range(len(given))]
        return [sign * round(ratio * 2**shift) for sign, ratio in zip(signs, ratios, strict=True)], shift

    def together(self, given: list[Value]) -> Iterator[tuple[Frame, ...]]:
        """The first frame of each, the second; a clip has equally many of all."""
        if self.buffer is None:
            assert len({len(one.frames) for one in given}) == 1
        return zip(*(one.frames for one in given), strict=self.buffer is None)

    def spread(self, value: Value, frame: Frame, channels: int, rows: int) -> Frame:
        """The frame in the joined shape, without its zero point."""
        x = [one - value.form.zero for one in frame]
        if len(x) == channels * rows:
            return x
        if len(x) == channels:
            return [x[c] for c in range(channels) for _ in range(rows)]
        if len(x) == rows:
            return [x[r] for _ in range(channels) for r in range(rows)]
        assert len(x) == 1
        return x * (channels * rows)

    def add(self, op: Add, at: int, given: list[Value]) -> Value:
        channels, rows = op.channels or given[0].channels, op.rows or given[0].rows
        factors, shift = self.factors(op, at, given)
        frames = []
        for parts in self.together(given):
            full = [self.spread(one, x, channels, rows) for one, x in zip(given, parts, strict=True)]
            totals = [
                sum(f * v for f, v in zip(factors, each, strict=True)) for each in zip(*full, strict=True)
            ]
            frames.append([self.finish(sat(rshift(t, shift), self.target(at).bits), at) for t in totals])
        return Value(channels, rows, self.own(at), frames)

    def mul(self, op: Mul, at: int, given: list[Value]) -> Value:
        channels, rows = op.channels or given[0].channels, op.rows or given[0].rows
        form = self.target(at)
        scale = scale_of(given[0].form.step * given[1].form.step / form.step)
        frames = []
        for parts in self.together(given):
            left, right = (self.spread(one, x, channels, rows) for one, x in zip(given, parts, strict=True))
            totals = [a * b for a, b in zip(left, right, strict=True)]
            frames.append([self.finish(requantize(total, scale, form.bits), at) for total in totals])
        return Value(channels, rows, self.own(at), frames)

    def concat(self, op: Concat, at: int, given: list[Value]) -> Value:
        rows = given[0].rows if all(one.rows == given[0].rows for one in given) else 1
        size = sum(one.channels * one.rows for one in given)
        factors, shift = self.factors(op, at, given)
        frames = []
        for parts in self.together(given):
            totals = [
                (number - one.form.zero) * factor
                for one, x, factor in zip(given, parts, factors, strict=True)
                for number in x
            ]
            frames.append([self.finish(sat(rshift(t, shift), self.target(at).bits), at) for t in totals])
        return Value(size // rows, rows, self.own(at), frames)

    def pick(self, op: Pick, at: int, given: list[Value]) -> Value:
        frames = [[frame[place] for place in op.order] for frame in given[0].frames]
        return Value(len(op.order) // op.rows, op.rows, given[0].form, frames)

    def heard(self, frames: Sequence[Any]) -> list[Sequence[Any]]:
        """For each decision the frames that what takes all of time takes."""
        if self.buffer is None:
            return [frames]
        return [frames[max(0, end - self.buffer) : end] for end in range(1, len(frames) + 1)]

    def whole(self, summed: int, total: int, form: Format) -> int:
        size = ((abs(summed) << (16 - form.bits)) + (total >> 1)) // total
        return sat(-size if summed < 0 else size, 16)

    def gathered(self, form: Format) -> Format:
        return Format(form.step * 2.0 ** (form.bits - 16), 16)

    def last(self, op: Last, at: int, given: list[Value]) -> Value:
        return given[0]._replace(frames=[frames[-1] for frames in self.heard(given[0].frames)])

    def meantime(self, op: MeanTime, at: int, given: list[Value]) -> Value:
        (value,), found = given, []
        for frames in self.heard(value.frames):
            sums = [sum(one - value.form.zero for one in numbers) for numbers in zip(*frames, strict=True)]
            found.append([self.whole(one, len(frames), value.form) for one in sums])
        return value._replace(form=self.gathered(value.form), frames=found)

    def attend(self, op: Attend, at: int, given: list[Value]) -> Value:
        value, found = given[1], []
        for pairs in self.heard(list(self.together(given))):
            most = max(energy for (energy,), _ in pairs)
            weights = [power(most - energy) for (energy,), _ in pairs]
            numbers = zip(*(x for _, x in pairs), strict=True)
            sums = [
                sum(w * (one - value.form.zero) for w, one in zip(weights, each, strict=True))
                for each in numbers
            ]
            found.append([self.whole(one, sum(weights), value.form) for one in sums])
        return value._replace(form=self.gathered(value.form), frames=found)


def clip_by_the_document(model: IntegerModel, log_mel: Any) -> list[int]:
    """The logits of a clip (M, T)."""
    (logits,) = Document(model, None).values(log_mel)[-1].frames
    return logits


def stream_by_the_document(model: IntegerModel, log_mel: Any, buffer: int) -> list[list[int]]:
    """The logits of every decision on a stream (M, T)."""
    return Document(model, buffer).values(log_mel)[-1].frames
