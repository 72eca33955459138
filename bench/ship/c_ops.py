"""The constants of each operation in C: one structure each, and which functions it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.ship.c_constants import (
    PARTS,
    Constants,
    fill_of,
    is_kept,
    one_piece,
    reads,
    strides,
    unchanged,
    width,
)
from bench.ship.c_numbers import ACT_BITS, GIVES, READS, ROUNDS, STORED, Kind, stored
from models.errors import ModelError
from models.integer.model import IntegerModel, curving, joining, scaling, six, target
from models.integer.ops import (
    Act,
    Add,
    Attend,
    Concat,
    Conv,
    Gather,
    Gives,
    Gru,
    Last,
    MeanTime,
    Mul,
    Op,
    Pick,
    Pool,
    Rounding,
    Window,
    repeated,
)

LIMIT = 2**31 - 1
# Numbers in a value; strides through it are then of 16 bits.
LARGEST = 2**15 - 1


class Writer:
    """Writes the constants of a model's operations."""

    def __init__(self, model: IntegerModel) -> None:
        self.model, self.made = model, Constants()

    def write(self, order: Sequence[int]) -> Constants:
        """All that run, in their order."""
        for at in order:
            self._one(at, self.model.program[at])
        return self.made

    def _one(self, at: int, op: Op) -> None:
        given, size = self.model.given(at), self.model.shapes[at].size
        if size > LARGEST:
            raise ModelError(f"operation {at} gives {size} numbers; the C code counts up to {LARGEST}")
        if not isinstance(op, (Pick, Last)) and any(form.bits > 16 for form in given):
            raise ModelError(f"operation {at} computes with logits; the C code has none that do")
        if isinstance(op, Rounding) and op.gives is Gives.LOGITS and op.act in (Act.TANH, Act.SIGMOID):
            raise ModelError(f"operation {at}: logits behind a curve")
        if isinstance(op, Window):
            self._window(at, op)
        match op:
            case Conv():
                self._conv(at, op)
            case Pool():
                self._pool(at, op)
            case Gru():
                self._gru(at, op)
            case Add():
                self._joined(at, op, "op", range(len(op.inputs)), self.model.shapes[at][:2])
            case Concat():
                for i, one in enumerate(op.inputs):
                    self._joined(at, op, f"part_{i}", [i], (1, self.model.shapes[one].size))
            case Mul():
                self._mul(at, op)
            case Pick():
                self._pick(at, op)
            case Gather():
                self._gather(at, op)

    def _structure(self, struct: str, name: str, /, **values: int | str) -> None:
        """A constant; zeros need not be written."""
        for key, value in values.items():
            if (
                isinstance(value, int)
                and not -(2**15) <= value < 2**16
                and key not in ("offset", "multiplier")
            ):
                raise ModelError(f"{name}: {key} is {value}; the C code counts up to 65535")
        body = ", ".join(f".{key} = {value}" for key, value in values.items() if value)
        self.made.structures.append(f"static const {struct} {name} = {{{body or '0'}}};")

    def _finish(self, at: int, op: Rounding, part: str) -> dict[str, int]:
        """The kind of what is rounded, and what its activation needs."""
        gives, made = self.model.formats[at], self.made
        kind = int(
            width(self.model, target(op, gives).bits, Kind.ROUNDS_16, Kind.ROUNDS_32)
            | width(self.model, gives.bits, Kind.GIVES_16, Kind.GIVES_32)
        )
        extra = 0
        made.parts.add(part)
        if op.act is not Act.NONE:
            made.parts |= {PARTS[op.act], f"finish_{part}"}
            kind |= op.act << ACT_BITS
        if op.act is Act.RELU6:
            extra = six(gives)
        if op.act is Act.SILU:
            extra = len(made.silu)
            made.silu.append(curving(self.model, at))
            made.ask(width(self.model, gives.bits, Kind.ROUNDS_16, Kind.ROUNDS_32), ROUNDS)
        made.ask(kind, ROUNDS | GIVES)
        return {"kind": kind, "extra": extra}

    def _window(self, at: int, op: Window) -> None:
        if not is_kept(op):
            self.made.parts |= {"skip"} if op.slides else set()
            return
        shape, form = op.read(self.model.shapes[op.inputs[0]]), self.model.formats[op.inputs[0]]
        kind = Kind.HOLDS_16 if form.bits > self.model.activations else Kind.NONE
        self.made.parts.add("slide")
        self.made.ask(kind, Kind.HOLDS_16)
        self._structure(
            "sliding",
            f"window_{at}",
            channels=shape.channels,
            rows=shape.rows,
            padded=shape.rows + op.above + op.below,
            above=op.above,
            span=op.span_time,
            stride=op.stride_time,
            kind=int(kind),
            fill=fill_of(self.model, at),
        )

    def _taps(self, at: int, op: Window, channels: int) -> tuple[dict[str, int], int, bool]:
        """What one result reads, how far the next row is, and whether it is one piece."""
        shape = op.read(self.model.shapes[op.inputs[0]])
        kept = is_kept(op)
        span = op.span_time if kept else 1
        rows = shape.rows + (op.above + op.below if kept else 0)
        taps = {
            "channels": channels,
            "mels": op.kernel_mel,
            "times": op.kernel_time,
            "by_channel": rows * span,
            "by_mel": op.dilation_mel * span,
            "by_time": op.dilation_time,
        }
        return taps, op.stride_mel * span, one_piece(taps)

    def _conv(self, at: int, op: Conv) -> None:
        form, shape = self.model.given(at)[0], self.model.shapes[op.inputs[0]]
        groups = op.parts(shape)
        each = op.read(shape).channels // groups
        taps, by_row, direct = self._taps(at, op, each)
        finish, kinds = self._finish(at, op, "conv"), self._matrices(at)
        kind = finish["kind"] | kinds[""] | reads(self.model, form)
        length = each * op.kernel_mel * op.kernel_time
        values: dict[str, int | str] = {
            "kind": self.made.ask(kind, STORED | READS),
            "length": length,
            "groups": groups,
            "outs": op.channels // groups,
            "rows": self.model.shapes[at].rows,
            "by_group": each * taps["by_channel"],
            "by_row": by_row,
            "extra": finish["extra"],
        }
        if not direct:
            self.made.parts.add("patch")
            self.made.piece = max(self.made.piece, -(-length * form.bits // 16))
            self._structure("taps", f"taps_{at}", **taps)
            values["taps"] = f"&taps_{at}"
        self._structure("conv_op", f"op_{at}", **values)

    def _matrices(self, at: int) -> Mapping[str, Kind]:
        made, own = self.made, stored(self.model, at)
        start = (len(made.weight), len(made.scale))
        made.weight += own.weight
        made.scale += own.scale
        made.starts[at] = start, (len(made.weight), len(made.scale))
        return own.kinds

    def _pool(self, at: int, op: Pool) -> None:
        form, shape = self.model.given(at)[0], self.model.shapes[op.inputs[0]]
        taps, by_row, _ = self._taps(at, op, op.read(shape).channels)
        values: dict[str, int | str] = {"rows": self.model.shapes[at].rows, "by_row": by_row}
        # Braces of its own: it is a structure in a structure.
        values["taps"] = f"{{{', '.join(map(str, taps.values()))}}}"
        if op.largest:
            self.made.parts.add("largest")
            values["kind"] = self.made.ask(unchanged(self.model, form), READS | GIVES)
        else:
            count = op.kernel_mel * op.kernel_time
            if count * 2**form.bits > LIMIT:
                raise ModelError(f"operation {at}: a mean of {count} numbers; fewer fit in 32 bits")
            finish = self._finish(at, op, "pool")
            kind = self.made.ask(finish["kind"] | reads(self.model, form), READS)
            values |= finish | {"kind": kind}
            multiplier, shift = scaling(self.model, at)
            values |= {"offset": -form.zero * count, "multiplier": multiplier, "shift": shift - 1}
        self._structure("pool_op", f"op_{at}", **values)

    def _gru(self, at: int, op: Gru) -> None:
        made, kinds = self.made, self._matrices(at)
        made.parts.add("gru")
        made.hidden, made.rank = max(made.hidden, op.hidden), max(made.rank, op.rank)
        ih = kinds["ih.r"] | width(self.model, 16, Kind.ROUNDS_16, Kind.ROUNDS_32)
        ih |= reads(self.model, self.model.given(at)[0])
        gates = Kind.NONE | width(self.model, 16, Kind.ROUNDS_16, Kind.ROUNDS_32)
        values = {"ih": ih, "hh": kinds["hh.r"] | gates, "hh_n": kinds["hh.n"] | gates}
        if op.rank:
            made.parts.add("factored")
            values["down"] = kinds["hh.down"]
        for kind in values.values():
            made.ask(kind, STORED | ROUNDS | Kind.READS_16)
        widths = {"inputs": self.model.shapes[op.inputs[0]].size, "hidden": op.hidden, "rank": op.rank}
        self._structure("gru_op", f"op_{at}", **widths, **{key: int(kind) for key, kind in values.items()})

    def _sides(self, name: str, factors: Sequence[tuple[int, int]], shape: Sequence[int]) -> str:
        """Values, with a factor or a zero point of each, as they are read beside each other."""
        model, words = self.model, []
        self.made.parts.add("side")
        for one, factor in factors:
            by_channel, by_row = repeated(model.shapes[one].size, shape[0], shape[1])
            kind = self.made.ask(int(reads(model, model.formats[one])), READS)
            words.append(f"{{{factor}, {by_channel}, {by_row}, {kind}}}")
        self.made.structures.append(f"static const side {name}[{len(words)}] = {{{', '.join(words)}}};")
        return name

    def _joined(
        self, at: int, op: Add | Concat, name: str, which: Sequence[int], shape: Sequence[int]
    ) -> None:
        model, (factors, shift) = self.model, joining(self.model, at)
        offset, most = 1 << (shift - 1), 0
        for i in which:
            form = model.formats[op.inputs[i]]
            offset -= form.zero * factors[i]
            most += abs(factors[i]) << (form.bits - 1)
        self.made.wide_sums |= most + abs(offset) > LIMIT or shift > 31
        self._structure(
            "join_op",
            f"{name}_{at}",
            offset=offset,
            sides=self._sides(f"sides_{at}_{which[0]}", [(op.inputs[i], factors[i]) for i in which], shape),
            count=len(which),
            channels=shape[0],
            rows=shape[1],
            shift=shift,
            **self._finish(at, op, "join"),
        )

    def _mul(self, at: int, op: Mul) -> None:
        model, shape = self.model, self.model.shapes[at]
        zeros = [(one, model.formats[one].zero) for one in op.inputs]
        multiplier, shift = scaling(model, at)
        self._structure(
            "mul_op",
            f"op_{at}",
            multiplier=multiplier,
            sides=self._sides(f"sides_{at}", zeros, shape),
            channels=shape.channels,
            rows=shape.rows,
            shift=shift - 1,
            **self._finish(at, op, "mul"),
        )

    def _pick(self, at: int, op: Pick) -> None:
        kind = self.made.ask(unchanged(self.model, self.model.formats[at]), READS | GIVES)
        steady = strides(op.order)
        if steady is None:
            self.made.parts.add("choose")
            words = ", ".join(map(str, op.order))
            self.made.structures.append(f"static const uint16_t order_{at}[{len(op.order)}] = {{{words}}};")
            return
        self.made.parts.add("pick")
        names = ("outer", "by_outer", "inner", "by_inner")
        self._structure(
            "pick_op", f"op_{at}", kind=kind, first=op.order[0], **dict(zip(names, steady, strict=True))
        )

    def _gather(self, at: int, op: Gather) -> None:
        if isinstance(op, Last):
            return
        form, model = self.model.given(at)[-1], self.model
        if isinstance(op, Attend):
            self.made.parts.add("attend")
            self.made.ask(reads(model, model.given(at)[0]), READS)
            self.made.reach = max(self.made.reach, 2 ** (form.bits - 1) + abs(form.zero))
        if isinstance(op, MeanTime):
            self.made.parts.add("mean")
        kind = self.made.ask(int(reads(model, form)), READS)
        values = {"size": model.shapes[at].size, "kind": kind, "shift": 16 - form.bits, "zero": form.zero}
        self._structure("attend_op" if isinstance(op, Attend) else "mean_op", f"op_{at}", **values)
