"""Programs drawn at random: chains and branches of every operation, with several gathers now and then."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

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
    Program,
    Shape,
    shapes_of,
)

MELS = 40


def random_program(seed: int) -> Program:
    """A program of some ten to thirty operations; the same for the same seed."""
    return _Drawing(np.random.default_rng(seed)).program()


@dataclass
class _Drawing:
    """A program in the making; ``head`` is the value that goes on."""

    rng: np.random.Generator
    ops: list[Op] = field(default_factory=lambda: [Input(mels=MELS)])
    head: int = 0

    def program(self) -> Program:
        """All of it."""
        for _ in range(self.upto(1, 4)):
            (self.layer, self.layer, self.branches, self.recurrent)[self.upto(0, 3)]()
        gathered = [self.gathered() for _ in range(self.upto(1, 2))]
        self.head = gathered[0]
        if len(gathered) > 1:
            self.add(Concat(inputs=tuple(gathered), act=self.act()))
        for _ in range(self.upto(0, 2)):
            (self.behind, self.layer_of_one, self.joined_with_itself)[self.upto(0, 2)]()
        self.add(Conv(inputs=(self.head,), rows=1, channels=2, gives=Gives.LOGITS))
        return tuple(self.ops)

    def upto(self, low: int, high: int) -> int:
        """A number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def add(self, op: Op) -> int:
        """Puts an operation behind the others."""
        self.ops.append(op)
        self.head = len(self.ops) - 1
        return self.head

    def shape(self, at: int | None = None) -> Shape:
        """Of a value."""
        return shapes_of(tuple(self.ops))[self.head if at is None else at]

    def act(self) -> Act:
        """Any activation."""
        return Act(self.upto(0, 5))

    def padding(self, span: int) -> tuple[int, int]:
        """Before and behind so that as many frames come out; sometimes all of it before."""
        before = self.upto(0, span - 1)
        return (before, span - 1 - before) if self.upto(0, 2) else (span - 1, 0)

    def conv(self, source: int, stride: int, *, keeps_rows: bool = False) -> Conv:
        """A convolution of any form whose frames are as many as those of another with its stride."""
        shape = self.shape(source)
        rows = 0 if keeps_rows or (shape.size > 60 and shape.channels == 1) else (0, 0, 1)[self.upto(0, 2)]
        rows_in = rows or shape.rows
        channels_in = shape.size // rows_in
        kernel_mel = 1 if keeps_rows else self.upto(1, min(5, rows_in))
        dilation_mel = 1 + self.upto(0, 1) * (2 * (kernel_mel - 1) < rows_in)
        padded = not keeps_rows and kernel_mel > 1 and self.upto(0, 1)
        kernel_time, dilation_time = self.upto(1, 6), self.upto(1, 2)
        before, after = self.padding((kernel_time - 1) * dilation_time + 1)
        groups, channels = 1, self.upto(1, 6)
        if self.upto(0, 2) == 0:
            groups, channels = 0, channels_in
        elif channels_in % 2 == 0 and self.upto(0, 1):
            groups, channels = 2, 2 * self.upto(1, 3)
        return Conv(
            inputs=(source,),
            rows=rows,
            channels=channels,
            groups=groups,
            biased=bool(self.upto(0, 3)),
            kernel_mel=kernel_mel,
            stride_mel=1 if keeps_rows else self.upto(1, 3),
            dilation_mel=dilation_mel,
            above=padded * self.upto(0, 2),
            below=padded * self.upto(0, 2),
            kernel_time=kernel_time,
            dilation_time=dilation_time,
            stride_time=stride,
            before=before,
            after=after,
            act=self.act(),
        )

    def layer(self) -> None:
        """A convolution, a pool, or an order of one's own."""
        kind = self.upto(0, 4)
        if kind > 1:
            self.add(self.conv(self.head, self.upto(1, 3)))
        elif kind == 1:
            rows, times = self.upto(1, min(3, self.shape().rows)), self.upto(1, 4)
            over_rows = 1 + self.upto(0, 1) * (2 * rows <= self.shape().rows)
            over_times = self.upto(1, 2)
            before, after = self.padding((times - 1) * over_times + 1)
            largest = bool(self.upto(0, 1))
            self.add(
                Pool(
                    inputs=(self.head,),
                    kernel_mel=rows,
                    stride_mel=self.upto(1, 2),
                    dilation_mel=over_rows,
                    above=self.upto(0, rows - 1),
                    below=self.upto(0, rows - 1),
                    kernel_time=times,
                    stride_time=self.upto(1, 2),
                    dilation_time=over_times,
                    before=before,
                    after=after,
                    largest=largest,
                    act=Act.NONE if largest else self.act(),
                )
            )
        else:
            self.pick()

    def pick(self) -> None:
        """A transpose, a part, or any order."""
        shape = self.shape()
        places = np.arange(shape.size)
        kind = self.upto(0, 2)
        if kind == 0:
            places = places.reshape(shape.channels, shape.rows).T.reshape(-1)
        elif kind == 1:
            places = places[self.upto(0, shape.size - 1) :]
        else:
            places = self.rng.permutation(places)[: self.upto(1, shape.size)]
        self.add(Pick(inputs=(self.head,), order=tuple(int(one) for one in places)))

    def recurrent(self) -> None:
        """A GRU layer."""
        self.add(Gru(inputs=(self.head,), hidden=self.upto(1, 7), rank=self.upto(0, 3)))

    def branches(self) -> None:
        """Two or three ways that hear different lengths, and meet."""
        source, stride, ends = self.head, self.upto(1, 2), []
        for _ in range(self.upto(2, 3)):
            way = self.add(self.conv(source, stride, keeps_rows=True))
            for _ in range(self.upto(0, 1)):
                way = self.add(self.conv(way, 1, keeps_rows=True))
            if self.upto(0, 3) == 0 and stride == 1:
                way = source
            ends.append(way)
        if self.upto(0, 1):
            self.add(Concat(inputs=tuple(ends), act=self.act()))
            return
        rows = self.shape(source).rows
        level = [self.add(Conv(inputs=(end,), rows=rows, channels=3)) for end in ends]
        if self.upto(0, 1):
            self.add(Mul(inputs=(level[0], level[1]), act=self.act()))
        else:
            minus = self.upto(0, 7) % (1 << len(level))
            self.add(Add(inputs=tuple(level), minus=minus, act=self.act()))

    def gathered(self) -> int:
        """One value for all of time, from what moves."""
        if self.upto(0, 1) and not self.shape().moving:
            self.head = self.ops[-1].inputs[-1]
        while not self.shape().moving:
            self.head -= 1
        source = self.head
        kind = self.upto(0, 2)
        if kind == 0:
            return self.add(MeanTime(inputs=(source,)))
        if kind == 1:
            return self.add(Last(inputs=(source,)))
        energy = self.add(Conv(inputs=(source,), rows=1, channels=1, gives=Gives.ENERGY))
        if self.upto(0, 1):
            span = self.upto(1, 4)
            before, after = self.padding(span)
            values = Conv(inputs=(source,), rows=1, channels=4, kernel_time=span, before=before, after=after)
            source = self.add(values)
        return self.add(Attend(inputs=(energy, source)))

    def behind(self) -> None:
        """A linear layer."""
        self.add(Conv(inputs=(self.head,), rows=1, channels=self.upto(1, 8), act=self.act()))

    def layer_of_one(self) -> None:
        """A convolution over rows, with rows of padding."""
        rows = self.shape().size
        width = min(3, rows)
        self.add(
            Conv(
                inputs=(self.head,), rows=rows, channels=2, kernel_mel=width, above=1, below=1, act=self.act()
            )
        )

    def joined_with_itself(self) -> None:
        """A sum and a product with a number that is repeated."""
        one = self.add(Conv(inputs=(self.head,), rows=1, channels=1, act=Act.SIGMOID))
        wide = self.ops[one].inputs[0]
        size = self.shape(wide).size
        self.add(Mul(inputs=(wide, one), channels=size, rows=1, act=self.act()))
        self.add(Add(inputs=(self.head, wide), minus=self.upto(0, 3), channels=size, rows=1))
