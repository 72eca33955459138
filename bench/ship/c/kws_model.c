/* See kws_model.h. Weights stand in the order in which they are read: of the convolution each channel, of a GRU
 * layer each unit with its rows ih.r, ih.z, ih.n, hh.r, hh.z, hh.n, then attention and classifier. */
#include "kws_model.h"

#define MELS KWS_MODEL_MELS
#define CHANNELS KWS_MODEL_CHANNELS
#define KERNEL_MEL KWS_MODEL_KERNEL_MEL
#define KERNEL_TIME KWS_MODEL_KERNEL_TIME
#define STRIDE_MEL KWS_MODEL_STRIDE_MEL
#define STRIDE_TIME KWS_MODEL_STRIDE_TIME
#define ROWS ((MELS - KERNEL_MEL) / STRIDE_MEL + 1)
#define HIDDEN KWS_MODEL_HIDDEN
#define ATTENTION KWS_MODEL_ATTENTION
#define LAYERS KWS_MODEL_LAYERS
#define CLASSES KWS_MODEL_CLASSES
#define BUFFER KWS_MODEL_BUFFER
#define STATE_BITS (KWS_MODEL_ACTIVATION_BITS - 1)
#define VALUE_MAX ((1 << STATE_BITS) - 1)
#define GATE_ONE 32768

/* Two weights of 4 bits in a byte. */
#define LOW(byte) ((((byte) & 15) ^ 8) - 8)
#define HIGH(byte) ((byte) >> 4)

/* What is called in many places stays one function: inlined it would triple the code. */
#if defined(__GNUC__)
#define SEPARATE __attribute__((noinline))
#else
#define SEPARATE
#endif

/* What this code takes for granted, checked when it is compiled. */
typedef char kws_shifts_are_arithmetic[((-3) >> 1) == -2 ? 1 : -1];
typedef char kws_buffer_fits[BUFFER >= 1 && BUFFER <= 255 && KERNEL_TIME <= 255 && STRIDE_TIME <= 255 ? 1 : -1];

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

/* 2^(-i / 32) with 15 fraction bits. */
static const uint16_t kws_table_power[33] = {
    32768, 32066, 31379, 30706, 30048, 29405, 28774, 28158, 27554, 26964, 26386, 25821, 25268, 24726,
    24196, 23678, 23170, 22674, 22188, 21713, 21247, 20792, 20347, 19911, 19484, 19066, 18658, 18258,
    17867, 17484, 17109, 16743, 16384,
};

/*{weights}*/

/* Where the next row of weights stands. */
typedef struct {
    const int8_t *weight;
    const int32_t *bias;
    const uint32_t *wide;
    const uint16_t *narrow;
    const uint8_t *shift;
} reader;

static const reader kws_start = {kws_weight, kws_bias, kws_wide, kws_narrow, kws_shift};

/* Matrices, for their widths: conv is 0, of a GRU layer the six from 1 + 6 layer on. */
enum { CONV = 0, GRU = 1, INNER = GRU + 6 * LAYERS, ENERGY, CLASSIFIER };
/* BIASED: the row has a bias. WIDE: its multiplier has 31 bits, else 16 are exact. */
enum { BIASED = 1, WIDE = 2 };

static int32_t limited(int32_t value, int32_t top) {
    return value > top ? top : value < -top - 1 ? -top - 1 : value;
}

/* A sum of products to another scale: bias, multiplier, rounding shift, limit. */
static SEPARATE int32_t scaled(reader *at, int kind, int32_t sum, int32_t top) {
    const int shift = *at->shift++;
    int64_t product;
    if (kind & BIASED) sum += *at->bias++;
    if (kind & WIDE || KWS_MODEL_ALL_WIDE) {
        product = (int64_t)sum * (int32_t)*at->wide++;
    } else {
        product = (int64_t)sum * *at->narrow++;
    }
    /* Halves round up; the array holds the shift less one. */
    product = ((product >> shift) + 1) >> 1;
    return product > top ? top : product < -(int64_t)top - 1 ? -top - 1 : (int32_t)product;
}

/* One row times a vector. */
static SEPARATE int32_t row(reader *at, int matrix, int kind, const kws_value *x, int length, int32_t top) {
    const int8_t *weight = at->weight;
    int32_t sum = 0;
    if (KWS_MODEL_PACKED(matrix)) {
        for (; length >= 2; length -= 2, ++weight, x += 2) sum += LOW(*weight) * x[0] + HIGH(*weight) * x[1];
        if (length) sum += LOW(*weight++) * x[0];
    } else {
        for (; length >= 4; length -= 4, weight += 4, x += 4) {
            sum += weight[0] * x[0] + weight[1] * x[1] + weight[2] * x[2] + weight[3] * x[3];
        }
        for (; length > 0; --length) sum += *weight++ * *x++;
    }
    at->weight = weight;
    return scaled(at, kind, sum, top);
}

static int32_t sigmoid_at(int32_t i) {
    return i < 128 ? GATE_ONE - kws_table_sigmoid[128 - i] : kws_table_sigmoid[i - 128];
}

/* From 12 fraction bits to 15. */
static int32_t sigmoid(int32_t value) {
    const int32_t place = limited(value, 32767) + 32768, i = place >> 8;
    const int32_t low = sigmoid_at(i);
    return low + (((sigmoid_at(i + 1) - low) * (place & 255) + 128) >> 8);
}

static int32_t hyperbolic(int32_t value) { return 2 * sigmoid(2 * limited(value, 32767)) - GATE_ONE; }

/* 2^-below, from 10 fraction bits to 15. */
static int32_t power(int32_t below) {
    const int32_t i = (below & 1023) >> 5, whole = below >> 10;
    const int32_t high = kws_table_power[i], step = high - kws_table_power[i + 1];
    return (high - ((step * (below & 31) + 16) >> 5)) >> (whole < 31 ? whole : 31);
}

/* A state of 15 fraction bits as layers read it. */
static kws_value read_state(int32_t value) {
#if KWS_MODEL_ACTIVATION_BITS == 8
    return (kws_value)limited((value + 128) >> 8, VALUE_MAX);
#else
    return (kws_value)value;
#endif
}

/* The window to one frame, channel after channel. Bands lie one after another, so that a channel's part of the
 * window is one piece. */
static void convolve(const kws_model *model, reader *at, kws_value *frame) {
    const reader start = *at;
    int line, channel;
    for (line = 0; line < ROWS; ++line) {
        *at = start;
        for (channel = 0; channel < CHANNELS; ++channel) {
            const kws_value *x = model->mel[line * STRIDE_MEL];
            frame[channel * ROWS + line] =
                (kws_value)row(at, CONV, BIASED | WIDE, x, KERNEL_MEL * KERNEL_TIME, VALUE_MAX);
        }
    }
}

/* One GRU layer; its state is replaced. */
static void recur(reader *at, int layer, const kws_value *x, int width, int16_t *hidden) {
    const int ih = GRU + 6 * layer, hh = ih + 3, kind = BIASED | (layer ? 0 : WIDE);
    kws_value state[HIDDEN];
    int i;
    for (i = 0; i < HIDDEN; ++i) state[i] = read_state(hidden[i]);
    for (i = 0; i < HIDDEN; ++i) {
        int32_t reset = row(at, ih, kind, x, width, 32767);
        int32_t update = row(at, ih + 1, kind, x, width, 32767);
        int32_t fresh = row(at, ih + 2, kind, x, width, 32767);
        reset = sigmoid(reset + row(at, hh, 0, state, HIDDEN, 32767));
        update = sigmoid(update + row(at, hh + 1, 0, state, HIDDEN, 32767));
        fresh += (reset * row(at, hh + 2, BIASED, state, HIDDEN, 32767) + 16384) >> 15;
        fresh = hyperbolic(fresh);
        hidden[i] = (int16_t)((update * hidden[i] + (GATE_ONE - update) * fresh + 16384) >> 15);
    }
}

static int16_t energy(reader *at, const kws_value *output) {
    kws_value inner[ATTENTION];
    int i;
    for (i = 0; i < ATTENTION; ++i) {
        inner[i] = read_state(hyperbolic(row(at, INNER, BIASED, output, HIDDEN, 32767)));
    }
    return (int16_t)row(at, ENERGY, BIASED | WIDE, inner, ATTENTION, 32767);
}

/* A weighted sum of outputs over the sum of the weights, to 15 fraction bits, to the nearest. */
static int16_t mean(const kws_model *model, const uint16_t *share, uint32_t total, int unit) {
    int i;
#if KWS_MODEL_ACTIVATION_BITS == 8
    int32_t sum = 0;
    uint32_t size, whole;
    for (i = 0; i < model->frames; ++i) sum += share[i] * model->outputs[i][unit];
    /* (size * 256 + total / 2) / total in two steps that fit 32 bits. */
    size = (uint32_t)(sum < 0 ? -sum : sum);
    whole = size / total;
    size = (whole << 8) + (((size - whole * total) << 8) + (total >> 1)) / total;
    return (int16_t)limited(sum < 0 ? -(int32_t)size : (int32_t)size, 32767);
#else
    int64_t sum = 0;
    uint64_t size;
    for (i = 0; i < model->frames; ++i) sum += (int64_t)share[i] * model->outputs[i][unit];
    size = ((uint64_t)(sum < 0 ? -sum : sum) + (total >> 1)) / total;
    return (int16_t)limited(sum < 0 ? -(int32_t)size : (int32_t)size, 32767);
#endif
}

static void attend(const kws_model *model, reader *at, int32_t *logits) {
    uint16_t share[BUFFER];
    int16_t context[HIDDEN];
    int32_t top = -32768;
    uint32_t total = 0;
    int i, label;
    for (i = 0; i < model->frames; ++i) {
        if (model->energies[i] > top) top = model->energies[i];
    }
    for (i = 0; i < model->frames; ++i) {
        share[i] = (uint16_t)power(top - model->energies[i]);
        total += share[i];
    }
    for (i = 0; i < HIDDEN; ++i) context[i] = mean(model, share, total, i);
    for (label = 0; label < CLASSES; ++label) {
        int32_t sum = 0;
        for (i = 0; i < HIDDEN; ++i) {
            const int8_t weight = at->weight[KWS_MODEL_PACKED(CLASSIFIER) ? i >> 1 : i];
            sum += (!KWS_MODEL_PACKED(CLASSIFIER) ? weight : i & 1 ? HIGH(weight) : LOW(weight)) * context[i];
        }
        at->weight += KWS_MODEL_PACKED(CLASSIFIER) ? (HIDDEN + 1) / 2 : HIDDEN;
        logits[label] = scaled(at, BIASED, sum, INT32_MAX);
    }
}

/* A whole window to one more model frame; leaves the reader before the classifier. */
static void advance(kws_model *model, reader *at) {
    kws_value frame[CHANNELS * ROWS], *output = model->outputs[model->next];
    int layer, i;
    convolve(model, at, frame);
    for (layer = 0; layer < LAYERS; ++layer) {
        recur(at, layer, layer ? output : frame, layer ? HIDDEN : CHANNELS * ROWS, model->hidden[layer]);
        for (i = 0; i < HIDDEN; ++i) output[i] = read_state(model->hidden[layer][i]);
    }
    model->energies[model->next] = energy(at, output);
    model->next = (uint8_t)(model->next + 1 < BUFFER ? model->next + 1 : 0);
    if (model->frames < BUFFER) ++model->frames;
}

/* Takes a mel frame; gives 1 once a window is whole. */
static int collect(kws_model *model, const kws_value *mel) {
    int i;
    if (model->skip) {
        --model->skip;
        return 0;
    }
    for (i = 0; i < MELS; ++i) model->mel[i][model->held] = mel[i];
    return ++model->held == KERNEL_TIME;
}

/* Moves the window on. */
static void move(kws_model *model) {
#if KERNEL_TIME > STRIDE_TIME
    int band, i;
    for (band = 0; band < MELS; ++band) {
        kws_value *mel = model->mel[band];
        for (i = 0; i < KERNEL_TIME - STRIDE_TIME; ++i) mel[i] = mel[i + STRIDE_TIME];
    }
    model->held = KERNEL_TIME - STRIDE_TIME;
#else
    model->held = 0;
    model->skip = STRIDE_TIME - KERNEL_TIME;
#endif
}

void kws_model_init(kws_model *model) {
    int layer, i;
    for (layer = 0; layer < LAYERS; ++layer) {
        for (i = 0; i < HIDDEN; ++i) model->hidden[layer][i] = 0;
    }
    model->held = model->skip = model->frames = model->next = 0;
}

int kws_model_push(kws_model *model, const kws_value mel[KWS_MODEL_MELS], int32_t logits[KWS_MODEL_CLASSES]) {
    reader at = kws_start;
    if (!collect(model, mel)) return 0;
    advance(model, &at);
    move(model);
    attend(model, &at, logits);
    return 1;
}

int kws_model_clip(kws_model *model, const kws_value *mel, uint16_t mel_frames,
                   int32_t logits[KWS_MODEL_CLASSES]) {
    reader at = kws_start;
    kws_model_init(model);
    for (; mel_frames > 0; --mel_frames, mel += MELS) {
        if (!collect(model, mel)) continue;
        at = kws_start;
        advance(model, &at);
        move(model);
    }
    if (!model->frames) return 0;
    attend(model, &at, logits);
    return 1;
}

void kws_model_quantize(const float log_mel[KWS_MODEL_MELS], kws_value mel[KWS_MODEL_MELS]) {
    int i;
    for (i = 0; i < MELS; ++i) {
        const float value = log_mel[i] * (float)(1 << KWS_MODEL_INPUT_BITS);
        int32_t whole;
        if (!(value > -40000.0f)) {
            whole = -40000;
        } else if (value > 40000.0f) {
            whole = 40000;
        } else {
            /* To the nearest, ties to even. */
            float rest;
            whole = (int32_t)value;
            rest = value - (float)whole;
            if (rest > 0.5f || (rest == 0.5f && (whole & 1))) ++whole;
            if (rest < -0.5f || (rest == -0.5f && (whole & 1))) --whole;
        }
        mel[i] = (kws_value)limited(whole + KWS_MODEL_INPUT_ZERO, VALUE_MAX);
    }
}
