/*{always}*/
/* Two weights of 4 bits in a byte. */
#define LOW(byte) ((((byte) & 15) ^ 8) - 8)
#define HIGH(byte) ((byte) >> 4)

/* What the bits of a matrix or an operation mean; the number of its activation stands above them. */
enum {
    PACKED = 1,       /* two weights a byte */
    SHORT_BIAS = 2,   /* a bias of 16 bits */
    LONG_BIAS = 4,    /* a bias of 32 bits */
    SHORT_SCALE = 8,  /* a multiplier of 11 bits, and its shift, in 16 */
    LONG_SCALE = 16,  /* a multiplier of 31 bits; otherwise it has 27 */
    READS_16 = 32,    /* reads numbers of 16 bits where others have 8 */
    READS_32 = 64,    /* reads numbers of 32 bits */
    ROUNDS_16 = 128,  /* sums are rounded to 16 bits */
    ROUNDS_32 = 256,  /* sums are rounded to 32 bits */
    GIVES_16 = 512,   /* gives numbers of 16 bits where others give 8 */
    GIVES_32 = 1024,  /* gives numbers of 32 bits */
    HOLDS_16 = 2048,  /* a window over numbers of 16 bits */
    ACT = 12
};
/* A bit that all have, or none, is known when this is compiled. */
#define HAS(kind, bit) ((KWS_ALWAYS & (bit)) != 0 || ((KWS_EVER & (bit)) != 0 && ((kind) & (bit)) != 0))

static int32_t limited(int32_t value, int32_t top) {
    return value > top ? top : value < -top - 1 ? -top - 1 : value;
}

/*{get}*/
/* A number of a value. */
static int32_t get(const void *x, int at, int kind) {
    if (HAS(kind, READS_32)) return ((const int32_t *)x)[at];
    if (HAS(kind, READS_16)) return ((const int16_t *)x)[at];
    return ((const kws_value *)x)[at];
}

/*{put}*/
/* A number of a result. */
static void put(void *out, int at, int kind, int32_t value) {
    if (HAS(kind, GIVES_32)) {
        ((int32_t *)out)[at] = value;
    } else if (HAS(kind, GIVES_16)) {
        ((int16_t *)out)[at] = (int16_t)value;
    } else {
        ((kws_value *)out)[at] = (kws_value)value;
    }
}

/*{copy}*/
static void copy(void *to, const void *from, int bytes) {
    const int8_t *source = (const int8_t *)from;
    int8_t *target = (int8_t *)to;
    for (; bytes > 0; --bytes) *target++ = *source++;
}

/*{sigmoid}*/
/* sigmoid(i / 16) with 15 fraction bits, i from 0 to 128; the other half mirrors it. */
static const uint16_t kws_table_sigmoid[129] = {
    16384, 16896, 17407, 17916, 18421, 18923, 19420, 19912, 20397, 20874, 21344, 21804, 22255, 22696,
    23127, 23547, 23955, 24352, 24737, 25110, 25471, 25819, 26155, 26479, 26790, 27090, 27377, 27653,
    27917, 28169, 28411, 28642, 28862, 29072, 29272, 29462, 29644, 29816, 29979, 30135, 30282, 30422,
    30555, 30680, 30799, 30912, 31018, 31119, 31214, 31304, 31389, 31469, 31545, 31616, 31684, 31747,
    31807, 31864, 31917, 31968, 32015, 32060, 32102, 32141, 32179, 32214, 32247, 32278, 32307, 32335,
    32361, 32385, 32408, 32430, 32450, 32469, 32487, 32504, 32520, 32535, 32549, 32562, 32574, 32586,
    32597, 32607, 32617, 32626, 32635, 32643, 32650, 32657, 32664, 32670, 32676, 32682, 32687, 32692,
    32696, 32701, 32705, 32709, 32712, 32716, 32719, 32722, 32725, 32727, 32730, 32732, 32734, 32736,
    32738, 32740, 32742, 32743, 32745, 32746, 32747, 32749, 32750, 32751, 32752, 32753, 32754, 32755,
    32756, 32756, 32757,
};

static int32_t sigmoid_at(int32_t i) {
    return i < 128 ? GATE_ONE - kws_table_sigmoid[128 - i] : kws_table_sigmoid[i - 128];
}

/* From 12 fraction bits to 15. */
static int32_t sigmoid(int32_t value) {
    const int32_t place = limited(value, 32767) + 32768, i = place >> 8;
    const int32_t low = sigmoid_at(i);
    return low + (((sigmoid_at(i + 1) - low) * (place & 255) + 128) >> 8);
}

/*{tanh: sigmoid}*/
static int32_t hyperbolic(int32_t value) { return 2 * sigmoid(2 * limited(value, 32767)) - GATE_ONE; }

/*{state}*/
/* A state of 15 fraction bits as layers read it. */
static kws_value read_state(int32_t value) {
#if KWS_MODEL_ACTIVATION_BITS == 8
    return (kws_value)limited((value + 128) >> 8, VALUE_MAX);
#else
    return (kws_value)value;
#endif
}

/*{round}*/
/* A sum to another scale: a product, a shift that rounds halves up, a limit. `shift` is less one. */
static int32_t rounded(int32_t sum, int32_t multiplier, int shift, int kind) {
    const int32_t top = HAS(kind, ROUNDS_32) ? INT32_MAX : HAS(kind, ROUNDS_16) ? 32767 : VALUE_MAX;
    int64_t product = (int64_t)sum * multiplier;
    product = ((product >> shift) + 1) >> 1;
    return product > top ? top : product < -(int64_t)top - 1 ? -top - 1 : (int32_t)product;
}

/*{finish}*/
/* What is done with a rounded sum. */
static int32_t finish(int32_t value, int kind, int extra) {
    (void)extra;
    switch (kind >> ACT) {
/*{relu: finish}*/
        case 1: return value > 0 ? value : 0;
/*{relu6: finish extra}*/
        case 2: return value < 0 ? 0 : value > extra ? extra : value;
/*{act_tanh: finish tanh state}*/
        case 3: return HAS(kind, GIVES_16) ? hyperbolic(value) : read_state(hyperbolic(value));
/*{act_sigmoid: finish sigmoid state}*/
        case 4: return HAS(kind, GIVES_16) ? sigmoid(value) : read_state(sigmoid(value));
/*{silu: finish sigmoid round extra}*/
        case 5: {
            const int to = HAS(kind, GIVES_32) ? ROUNDS_32 : HAS(kind, GIVES_16) ? ROUNDS_16 : 0;
            return rounded(value * sigmoid(value), kws_silu[extra].multiplier, kws_silu[extra].shift, to);
        }
/*{finish}*/
        default: return value;
    }
}

/*{row: round}*/
/* Where the next row of weights stands. */
typedef struct {
    const int8_t *weight;
    const uint16_t *scale;
} reader;

/* A sum of products to its result's scale, by the bias, multiplier and shift of its row. */
static int32_t scaled(reader *at, int kind, int32_t sum) {
    const uint16_t *scale = at->scale;
    uint32_t multiplier = *scale++;
    int shift = (int)(multiplier & 63);
    if (HAS(kind, SHORT_SCALE)) {
        multiplier = 1024 + (multiplier >> 6);
    } else if (HAS(kind, LONG_SCALE)) {
        multiplier = scale[0] | (uint32_t)scale[1] << 16;
        scale += 2;
    } else {
        multiplier = 1u << 26 | multiplier >> 6 | (uint32_t)*scale++ << 10;
    }
    if (HAS(kind, SHORT_BIAS)) {
        sum += (int16_t)*scale++;
    } else if (HAS(kind, LONG_BIAS)) {
        sum += (int32_t)(scale[0] | (uint32_t)scale[1] << 16);
        scale += 2;
    }
    at->scale = scale;
    return rounded(sum, (int32_t)multiplier, shift, kind);
}

/* One row times a vector. */
static SEPARATE int32_t row(reader *at, int kind, const void *vector, int length) {
    const int8_t *weight = at->weight;
    int32_t sum = 0;
    if (HAS(kind, READS_16)) {
        const int16_t *x = (const int16_t *)vector;
        int i;
        for (i = 0; i < length; ++i) {
            if (HAS(kind, PACKED)) {
                sum += (i & 1 ? HIGH(*weight) : LOW(*weight)) * *x++;
                weight += i & 1;
            } else {
                sum += *weight++ * *x++;
            }
        }
        if (HAS(kind, PACKED)) weight += length & 1;
    } else {
        const kws_value *x = (const kws_value *)vector;
        if (HAS(kind, PACKED)) {
            for (; length >= 4; length -= 4, weight += 2, x += 4) {
                sum += LOW(weight[0]) * x[0] + HIGH(weight[0]) * x[1];
                sum += LOW(weight[1]) * x[2] + HIGH(weight[1]) * x[3];
            }
            for (; length > 0; length -= 2, ++weight, x += 2) {
                sum += LOW(*weight) * x[0];
                if (length > 1) sum += HIGH(*weight) * x[1];
            }
        } else {
            for (; length >= 8; length -= 8, weight += 8, x += 8) {
                sum += weight[0] * x[0] + weight[1] * x[1] + weight[2] * x[2] + weight[3] * x[3];
                sum += weight[4] * x[4] + weight[5] * x[5] + weight[6] * x[6] + weight[7] * x[7];
            }
            for (; length > 0; --length) sum += *weight++ * *x++;
        }
    }
    at->weight = weight;
    return scaled(at, kind, sum);
}

/*{slide}*/
/* A window over frames. Those of one row lie one after another, so that a row's part of it is one piece; rows of
 * padding are there for good. */
typedef struct {
    uint16_t channels, rows, padded, above, span, stride, kind;
    int16_t fill;
} sliding;

/* Takes a frame, or one of padding where there is none; gives 1 once the window is whole.
 *
 * `held` are frames in it, negative those to leave out before. */
static int slide(const sliding *op, kws_held *held, kws_value *window, const kws_value *frame) {
    const int unit = HAS(op->kind, HOLDS_16) ? 2 : 1;
    int channel, i, j;
    if (*held == op->span) {
        kws_value *line = window;
        for (i = op->channels * op->padded; i > 0; --i, line += op->span * unit) {
            for (j = 0; j < (op->span - op->stride) * unit; ++j) line[j] = line[j + op->stride * unit];
        }
        *held = (kws_held)(op->span - op->stride);
    }
    if (*held < 0) {
        ++*held;
        return 0;
    }
    window += (op->above * op->span + *held) * unit;
    for (channel = 0; channel < op->channels; ++channel) {
        for (i = 0; i < op->rows; ++i, window += op->span * unit) {
            if (HAS(op->kind, HOLDS_16)) {
                *(int16_t *)(void *)window = frame ? *(const int16_t *)(const void *)frame : op->fill;
            } else {
                *window = frame ? *frame : (kws_value)op->fill;
            }
            if (frame) frame += unit;
        }
        window += (op->padded - op->rows) * op->span * unit;
    }
    return ++*held == op->span;
}

/*{skip}*/
/* One frame out of so many. */
static int skip(kws_held *held, int stride) {
    if (*held > 0) *held = (kws_held)(1 - stride);
    return ++*held > 0;
}

/*{fill}*/
/* A window of padding alone. */
static void fill(void *window, int count, int wide, int value) {
    int i;
    for (i = 0; i < count; ++i) {
        if (wide) {
            ((int16_t *)window)[i] = (int16_t)value;
        } else {
            ((kws_value *)window)[i] = (kws_value)value;
        }
    }
}

/*{taps}*/
/* What one result reads: its numbers, and how far apart they are. */
typedef struct {
    uint16_t channels, mels, times, by_channel, by_mel, by_time;
} taps;

/*{patch: taps}*/
/* Brings what one result reads into one piece. */
static void collect(const taps *op, const void *x, int kind, void *piece) {
    const int unit = HAS(kind, READS_16) ? 2 : 1;
    const kws_value *channel = (const kws_value *)x;
    kws_value *to = (kws_value *)piece;
    int i, j, k;
    for (i = op->channels; i > 0; --i, channel += op->by_channel * unit) {
        const kws_value *mel = channel;
        for (j = op->mels; j > 0; --j, mel += op->by_mel * unit) {
            const kws_value *from = mel;
            for (k = op->times; k > 0; --k, from += op->by_time * unit) {
                *to++ = from[0];
                if (unit > 1) *to++ = from[1];
            }
        }
    }
}

/*{conv: row put}*/
/* Weighted sums. */
typedef struct {
    uint16_t kind, length, groups, outs, rows, by_group, by_row;
/*{extra}*/
    uint16_t extra; /* where ReLU6 ends, or which SiLU */
/*{patch}*/
    const taps *taps; /* 0 where what a result reads is one piece */
/*{conv}*/
} conv_op;

static void conv(reader *at, const conv_op *op, const void *x, void *out) {
    int group, line, i, first = 0;
/*{patch}*/
    int16_t piece[KWS_PIECE];
/*{conv}*/
    for (group = 0; group < op->groups; ++group) {
        const reader start = *at;
        for (line = 0; line < op->rows; ++line) {
            const int from = group * op->by_group + line * op->by_row;
            const void *seen = HAS(op->kind, READS_16) ? (const void *)((const int16_t *)x + from)
                                                       : (const void *)((const kws_value *)x + from);
            *at = start;
/*{patch}*/
            if (op->taps) {
                collect(op->taps, seen, op->kind, piece);
                seen = piece;
            }
/*{conv}*/
            for (i = 0; i < op->outs; ++i) {
                int32_t value = row(at, op->kind, seen, op->length);
/*{finish_conv}*/
                if (op->kind >> ACT) value = finish(value, op->kind, EXTRA(op));
/*{conv}*/
                put(out, first + i * op->rows + line, op->kind, value);
            }
        }
        first += op->outs * op->rows;
    }
}

/*{pools: taps get put}*/
/* Windows that have no weights: a mean, or the largest number. */
typedef struct {
    taps taps; /* of one channel: `by_channel` is from one to the next */
    uint16_t kind, rows, by_row, shift;
/*{extra}*/
    uint16_t extra;
/*{pools}*/
    int32_t offset, multiplier;
} pool_op;

/*{pool: pools round}*/
static void pool(const pool_op *op, const void *x, void *out) {
    int channel, line, mel, time, i = 0;
    for (channel = 0; channel < op->taps.channels; ++channel) {
        for (line = 0; line < op->rows; ++line, ++i) {
            const int from = channel * op->taps.by_channel + line * op->by_row;
            int32_t sum = op->offset;
            for (mel = 0; mel < op->taps.mels; ++mel) {
                for (time = 0; time < op->taps.times; ++time) {
                    sum += get(x, from + mel * op->taps.by_mel + time * op->taps.by_time, op->kind);
                }
            }
            sum = rounded(sum, op->multiplier, op->shift, op->kind);
/*{finish_pool}*/
            if (op->kind >> ACT) sum = finish(sum, op->kind, EXTRA(op));
/*{pool}*/
            put(out, i, op->kind, sum);
        }
    }
}

/*{largest: pools}*/
static void largest(const pool_op *op, const void *x, void *out) {
    int channel, line, mel, time, i = 0;
    for (channel = 0; channel < op->taps.channels; ++channel) {
        for (line = 0; line < op->rows; ++line, ++i) {
            const int from = channel * op->taps.by_channel + line * op->by_row;
            int32_t top = INT32_MIN;
            for (mel = 0; mel < op->taps.mels; ++mel) {
                for (time = 0; time < op->taps.times; ++time) {
                    const int32_t value = get(x, from + mel * op->taps.by_mel + time * op->taps.by_time, op->kind);
                    if (value > top) top = value;
                }
            }
            put(out, i, op->kind, top);
        }
    }
}

/*{gru: row tanh state}*/
/* A GRU layer. */
typedef struct {
    uint16_t inputs, hidden, ih, hh, hh_n; /* the widths, and the kinds of its matrices */
/*{factored}*/
    uint16_t rank, down; /* of the matrix that reads the state; 0: it is whole */
/*{gru}*/
} gru_op;

/* One step; the state is replaced. Rows stand unit by unit: ih.r, ih.z, ih.n, hh.r, hh.z, hh.n. */
static void gru(reader *at, const gru_op *op, const void *x, int16_t *hidden, kws_value *out) {
    kws_value state[KWS_HIDDEN];
    const kws_value *seen = state;
    int i = 0, reads = op->hidden;
/*{factored}*/
    kws_value thin[KWS_RANK];
/*{gru}*/
    do state[i] = read_state(hidden[i]);
    while (++i < op->hidden);
/*{factored}*/
    for (i = 0; i < op->rank; ++i) thin[i] = (kws_value)row(at, op->down, state, op->hidden);
    if (op->rank) {
        seen = thin;
        reads = op->rank;
    }
/*{gru}*/
    for (i = 0; i < op->hidden; ++i) {
        int32_t reset = row(at, op->ih, x, op->inputs);
        int32_t update = row(at, op->ih, x, op->inputs);
        int32_t fresh = row(at, op->ih, x, op->inputs);
        reset = sigmoid(reset + row(at, op->hh, seen, reads));
        update = sigmoid(update + row(at, op->hh, seen, reads));
        fresh += (reset * row(at, op->hh_n, seen, reads) + 16384) >> 15;
        fresh = hyperbolic(fresh);
        hidden[i] = (int16_t)((update * hidden[i] + (GATE_ONE - update) * fresh + 16384) >> 15);
        out[i] = read_state(hidden[i]);
    }
}

/*{side}*/
/* A value that is joined with others: how far apart its numbers are, 0 where they are repeated. */
typedef struct {
    int32_t factor; /* of a sum; the zero point of a product */
    uint16_t by_channel, by_row, kind;
} side;

/*{join: side get put}*/
/* A sum of values brought to one step. */
typedef struct {
    kws_sum offset; /* for the zero points, and half a unit */
    const side *sides;
    uint16_t kind, count, channels, rows, shift;
/*{extra}*/
    uint16_t extra;
/*{join}*/
} join_op;

static void join(const join_op *op, const void *const *x, void *out) {
    const int32_t top = HAS(op->kind, ROUNDS_32) ? INT32_MAX : HAS(op->kind, ROUNDS_16) ? 32767 : VALUE_MAX;
    int channel, line, i, at = 0;
    for (channel = 0; channel < op->channels; ++channel) {
        for (line = 0; line < op->rows; ++line, ++at) {
            kws_sum sum = op->offset;
            int32_t value;
            for (i = 0; i < op->count; ++i) {
                const side *one = op->sides + i;
                const int from = channel * one->by_channel + line * one->by_row;
                sum += (kws_sum)get(x[i], from, one->kind) * one->factor;
            }
            sum >>= op->shift;
            value = sum > top ? top : sum < -(kws_sum)top - 1 ? -top - 1 : (int32_t)sum;
/*{finish_join}*/
            if (op->kind >> ACT) value = finish(value, op->kind, EXTRA(op));
/*{join}*/
            put(out, at, op->kind, value);
        }
    }
}

/*{mul: side get put round}*/
/* A product of two values. */
typedef struct {
    int32_t multiplier;
    const side *sides;
    uint16_t kind, channels, rows, shift;
/*{extra}*/
    uint16_t extra;
/*{mul}*/
} mul_op;

static void mul(const mul_op *op, const void *left, const void *right, void *out) {
    const side *one = op->sides, *two = one + 1;
    int channel, line, at = 0;
    for (channel = 0; channel < op->channels; ++channel) {
        for (line = 0; line < op->rows; ++line, ++at) {
            int32_t value = get(left, channel * one->by_channel + line * one->by_row, one->kind) - one->factor;
            value *= get(right, channel * two->by_channel + line * two->by_row, two->kind) - two->factor;
            value = rounded(value, op->multiplier, op->shift, op->kind);
/*{finish_mul}*/
            if (op->kind >> ACT) value = finish(value, op->kind, EXTRA(op));
/*{mul}*/
            put(out, at, op->kind, value);
        }
    }
}

/*{pick: get put}*/
/* Numbers of a frame that lie in two steady strides: a transpose, a part. */
typedef struct {
    uint16_t kind, first, outer, inner;
    int16_t by_outer, by_inner;
} pick_op;

static void pick(const pick_op *op, const void *x, void *out) {
    int i, j, at = 0;
    for (i = 0; i < op->outer; ++i) {
        for (j = 0; j < op->inner; ++j, ++at) {
            put(out, at, op->kind, get(x, op->first + i * op->by_outer + j * op->by_inner, op->kind));
        }
    }
}

/*{choose: get put}*/
/* Numbers of a frame in any order. */
static void choose(const uint16_t *order, int count, int kind, const void *x, void *out) {
    int i;
    for (i = 0; i < count; ++i) put(out, i, kind, get(x, order[i], kind));
}

/*{line: copy}*/
/* The frame of a branch whose turn it is: the oldest of those that wait, or the one that came. */
static const void *oldest(const kws_line *line, const int8_t *frames, int bytes, const void *came) {
    return line->held ? frames + line->next * bytes : came;
}

/* Lets go of a frame that was used, and keeps one that must wait. */
static void wait_for(kws_line *line, int8_t *frames, int depth, int bytes, const void *came, int used) {
    if (used && line->held) {
        line->next = (kws_count)(line->next + 1 < depth ? line->next + 1 : 0);
        --line->held;
        used = 0;
    }
    if (came && !used) {
        const int at = line->next + line->held;
        copy(frames + (at < depth ? at : at - depth) * bytes, came, bytes);
        ++line->held;
    }
}

/*{ring}*/
static void move_on(kws_line *ring) {
    ring->next = (kws_count)(ring->next + 1 < KWS_MODEL_BUFFER ? ring->next + 1 : 0);
    if (ring->held < KWS_MODEL_BUFFER) ++ring->held;
}

/*{power}*/
/* 2^(-i / 32) with 15 fraction bits. */
static const uint16_t kws_table_power[33] = {
    32768, 32066, 31379, 30706, 30048, 29405, 28774, 28158, 27554, 26964, 26386, 25821, 25268, 24726,
    24196, 23678, 23170, 22674, 22188, 21713, 21247, 20792, 20347, 19911, 19484, 19066, 18658, 18258,
    17867, 17484, 17109, 16743, 16384,
};

/* 2^-below, from 10 fraction bits to 15. */
static int32_t power(int32_t below) {
    const int32_t i = (below & 1023) >> 5, whole = below >> 10;
    const int32_t high = kws_table_power[i], step = high - kws_table_power[i + 1];
    return (high - ((step * (below & 31) + 16) >> 5)) >> (whole < 31 ? whole : 31);
}

/*{attend: power ring copy get}*/
/* Attention over the last frames. */
typedef struct {
    uint16_t size, kind, shift;
    int16_t zero;
} attend_op;

static void listen_to(kws_line *ring, int16_t *energies, int8_t *frames, int32_t energy, const void *frame, int bytes) {
    energies[ring->next] = (int16_t)energy;
    copy(frames + ring->next * bytes, frame, bytes);
    move_on(ring);
}

/* A weighted sum of a number of all frames over the sum of the weights, to the nearest. */
static int16_t weighted(const attend_op *op, const uint16_t *share, int count, uint32_t total, const void *frames, int at) {
    int i;
#if KWS_MODEL_BUFFER * KWS_ATTEND_REACH < 65536
    int32_t sum = 0;
    uint32_t size, whole;
    for (i = 0; i < count; ++i, at += op->size) sum += share[i] * (get(frames, at, op->kind) - op->zero);
    /* (size * 2^shift + total / 2) / total in two steps that fit 32 bits. */
    size = (uint32_t)(sum < 0 ? -sum : sum);
    whole = size / total;
    size = (whole << op->shift) + (((size - whole * total) << op->shift) + (total >> 1)) / total;
    return (int16_t)limited(sum < 0 ? -(int32_t)size : (int32_t)size, 32767);
#else
    int64_t sum = 0;
    uint64_t size;
    for (i = 0; i < count; ++i, at += op->size) sum += (int64_t)share[i] * (get(frames, at, op->kind) - op->zero);
    size = (((uint64_t)(sum < 0 ? -sum : sum) << op->shift) + (total >> 1)) / total;
    return (int16_t)limited(sum < 0 ? -(int32_t)size : (int32_t)size, 32767);
#endif
}

static void attend(const attend_op *op, const kws_line *ring, const int16_t *energies, const void *frames, int16_t *out) {
    uint16_t share[KWS_MODEL_BUFFER];
    int32_t top = -32768;
    uint32_t total = 0;
    int i;
    for (i = 0; i < ring->held; ++i) {
        if (energies[i] > top) top = energies[i];
    }
    for (i = 0; i < ring->held; ++i) {
        share[i] = (uint16_t)power(top - energies[i]);
        total += share[i];
    }
    for (i = 0; i < op->size; ++i) out[i] = weighted(op, share, ring->held, total, frames, i);
}

/*{mean: ring get}*/
/* A mean over the last frames; sums are exact, so nothing drifts. */
typedef struct {
    uint16_t size, kind, shift;
    int16_t zero;
} mean_op;

static void add_up(const mean_op *op, kws_line *ring, int32_t *sums, void *frames, const void *frame) {
    const int first = ring->next * op->size;
    int i;
    for (i = 0; i < op->size; ++i) {
        const int32_t value = get(frame, i, op->kind);
        if (ring->held == KWS_MODEL_BUFFER) sums[i] -= get(frames, first + i, op->kind);
        sums[i] += value;
        if (HAS(op->kind, READS_16)) {
            ((int16_t *)frames)[first + i] = (int16_t)value;
        } else {
            ((kws_value *)frames)[first + i] = (kws_value)value;
        }
    }
    move_on(ring);
}

static void mean(const mean_op *op, const kws_line *ring, const int32_t *sums, int16_t *out) {
    const int32_t count = ring->held;
    int i;
    for (i = 0; i < op->size; ++i) {
        const int32_t sum = sums[i] - op->zero * count;
        const uint32_t size = (((uint32_t)(sum < 0 ? -sum : sum) << op->shift) + ((uint32_t)count >> 1)) / (uint32_t)count;
        out[i] = (int16_t)limited(sum < 0 ? -(int32_t)size : (int32_t)size, 32767);
    }
}
/*{end}*/
