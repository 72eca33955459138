/* See kws_frontend.h.
 *
 * A window of 400 real samples is a complex transform of 200 = 8 * 5 * 5 points. It is done in place, in radix
 * 8 and twice 5; every twiddle factor and the window come from one quarter of a cosine, 404 bytes: factors
 * are read once for a whole column of butterflies, so that finding the quadrant costs little. The triangles
 * of the mel bands are computed from their corners, as two lines cross each bin and add up to 1. */
#include "kws_frontend.h"

#define WINDOW KWS_FRONTEND_WINDOW
#define HOP KWS_FRONTEND_HOP
#define MELS KWS_FRONTEND_MELS
#define EDGE (WINDOW / 2)
#define BINS (WINDOW / 2)

/* cos(2 pi i / 400). */
static const float quarter[WINDOW / 4 + 1] = {
    1.0f, 0.9998766f, 0.99950653f, 0.99888986f, 0.9980267f, 0.9969173f, 0.99556196f, 0.993961f,
    0.9921147f, 0.9900237f, 0.98768836f, 0.9851093f, 0.9822872f, 0.97922283f, 0.97591674f, 0.9723699f,
    0.96858317f, 0.9645574f, 0.9602937f, 0.955793f, 0.95105654f, 0.94608533f, 0.9408808f, 0.93544406f,
    0.9297765f, 0.9238795f, 0.91775465f, 0.9114033f, 0.90482706f, 0.8980276f, 0.8910065f, 0.88376564f,
    0.87630665f, 0.86863154f, 0.86074203f, 0.85264015f, 0.8443279f, 0.8358074f, 0.82708055f, 0.81814975f,
    0.809017f, 0.79968464f, 0.790155f, 0.78043044f, 0.77051324f, 0.76040596f, 0.75011104f, 0.7396311f,
    0.7289686f, 0.7181263f, 0.70710677f, 0.6959128f, 0.6845471f, 0.6730125f, 0.66131186f, 0.64944804f,
    0.637424f, 0.62524265f, 0.61290705f, 0.60042024f, 0.58778524f, 0.57500523f, 0.56208336f, 0.5490228f,
    0.5358268f, 0.52249855f, 0.5090414f, 0.49545866f, 0.48175368f, 0.4679298f, 0.4539905f, 0.43993917f,
    0.42577928f, 0.41151437f, 0.3971479f, 0.38268343f, 0.36812454f, 0.35347486f, 0.33873793f, 0.32391742f,
    0.309017f, 0.29404032f, 0.2789911f, 0.26387304f, 0.24868989f, 0.23344536f, 0.21814324f, 0.2027873f,
    0.18738131f, 0.1719291f, 0.15643446f, 0.14090124f, 0.12533323f, 0.10973431f, 0.09410831f, 0.0784591f,
    0.06279052f, 0.047106452f, 0.031410757f, 0.015707318f, 0.0f,
};

/* Corners of the triangles, in bins of 40 Hz: 42 points at equal distance on 2595 log10(1 + Hz / 700). */
static const float corner[MELS + 2] = {
    0.0f, 1.1093519f, 2.2890275f, 3.5434842f, 4.8774633f, 6.296005f, 7.80447f, 9.40856f,
    11.114335f, 12.928242f, 14.857134f, 16.908302f, 19.089499f, 21.408962f, 23.875462f, 26.498316f,
    29.287437f, 32.253365f, 35.407307f, 38.76118f, 42.327663f, 46.12023f, 50.153217f, 54.44186f,
    59.002365f, 63.851967f, 69.008995f, 74.49293f, 80.3245f, 86.52575f, 93.1201f, 100.132484f,
    107.589386f, 115.519f, 123.95127f, 132.91809f, 142.45332f, 152.593f, 163.37546f, 174.84145f,
    187.03426f, 200.0f,
};

static float cosine(int angle) {
    if (angle < 0) angle = -angle;
    if (angle > EDGE) angle = WINDOW - angle;
    return angle > WINDOW / 4 ? -quarter[EDGE - angle] : quarter[angle];
}

static float sine(int angle) { return cosine(angle - WINDOW / 4); }

/* The Hann window over samples of 1 / 32768, in the order that the butterflies want, as pairs (even, odd). */
static void load(float *x, const int16_t *samples) {
    const float half = 0.5f / 32768.0f;
    int a, b, c;
    for (a = 0; a < 5; ++a) {
        for (b = 0; b < 5; ++b) {
            float *block = x + 2 * (40 * a + 8 * b);
            for (c = 0; c < 4; ++c) {
                /* Half a window further on the cosine is the same with the other sign. */
                const int at = 2 * (a + 5 * b + 25 * c);
                const float even = half * cosine(at), odd = half * cosine(at + 1);
                float *point = block + 2 * (4 * (c & 1) + (c >> 1));
                point[0] = (float)samples[at] * (half - even);
                point[1] = (float)samples[at + 1] * (half - odd);
                point[4] = (float)samples[at + EDGE] * (half + even);
                point[5] = (float)samples[at + 1 + EDGE] * (half + odd);
            }
        }
    }
}

/* Four points in place; point i stands at x + 2 i. */
static void four(float *x) {
    const float ar = x[0] + x[4], ai = x[1] + x[5], br = x[0] - x[4], bi = x[1] - x[5];
    const float cr = x[2] + x[6], ci = x[3] + x[7], dr = x[2] - x[6], di = x[3] - x[7];
    x[0] = ar + cr;
    x[1] = ai + ci;
    x[2] = br + di;
    x[3] = bi - dr;
    x[4] = ar - cr;
    x[5] = ai - ci;
    x[6] = br - di;
    x[7] = bi + dr;
}

static void pair(float *x, float re, float im) {
    const float ar = x[0], ai = x[1];
    x[0] = ar + re;
    x[1] = ai + im;
    x[8] = ar - re;
    x[9] = ai - im;
}

static void eight(float *x) {
    const float root = 0.70710678f;
    four(x);
    four(x + 8);
    pair(x, x[8], x[9]);
    pair(x + 2, root * (x[10] + x[11]), root * (x[11] - x[10]));
    pair(x + 4, x[13], -x[12]);
    pair(x + 6, root * (x[15] - x[14]), -root * (x[14] + x[15]));
}

/* Five points at distance `step` floats, turned by (wr, wi) and combined, in place. */
static void five(float *x, int step, const float *wr, const float *wi) {
    const float c1 = 0.309016994f, c2 = -0.809016994f, s1 = 0.951056516f, s2 = 0.587785252f;
    float re[4], im[4], p, q, r, s;
    int i;
    for (i = 0; i < 4; ++i) {
        const float *point = x + (i + 1) * step;
        re[i] = point[0] * wr[i] - point[1] * wi[i];
        im[i] = point[0] * wi[i] + point[1] * wr[i];
    }
    {
        const float ar = re[0] + re[3], ai = im[0] + im[3], br = re[1] + re[2], bi = im[1] + im[2];
        const float dr = re[0] - re[3], di = im[0] - im[3], er = re[1] - re[2], ei = im[1] - im[2];
        p = x[0] + c1 * ar + c2 * br;
        q = x[1] + c1 * ai + c2 * bi;
        r = s1 * dr + s2 * er;
        s = s1 * di + s2 * ei;
        x[step] = p + s;
        x[step + 1] = q - r;
        x[4 * step] = p - s;
        x[4 * step + 1] = q + r;
        p = x[0] + c2 * ar + c1 * br;
        q = x[1] + c2 * ai + c1 * bi;
        r = s2 * dr - s1 * er;
        s = s2 * di - s1 * ei;
        x[2 * step] = p + s;
        x[2 * step + 1] = q - r;
        x[3 * step] = p - s;
        x[3 * step + 1] = q + r;
        x[0] += ar + br;
        x[1] += ai + bi;
    }
}

/* Combines transforms of `span` points to transforms of 5 span. */
static void fives(float *x, int span) {
    int column, block, i;
    for (column = 0; column < span; ++column) {
        float wr[4], wi[4];
        for (i = 0; i < 4; ++i) {
            const int angle = column * (i + 1) * (WINDOW / 5 / span);
            wr[i] = cosine(angle);
            wi[i] = -sine(angle);
        }
        for (block = 0; block < BINS; block += 5 * span) five(x + 2 * (block + column), 2 * span, wr, wi);
    }
}

/* Power of bins 1 to 199, bin k at x[2 k], from the complex transform of the pairs. Times 4. */
static void power(float *x) {
    int k;
    for (k = 1; k <= BINS / 2; ++k) {
        float *low = x + 2 * k, *high = x + 2 * (BINS - k);
        const float er = low[0] + high[0], ei = low[1] - high[1];
        const float vr = low[1] + high[1], vi = high[0] - low[0];
        const float c = cosine(k), s = sine(k);
        const float tr = c * vr + s * vi, ti = c * vi - s * vr;
        low[0] = (er + tr) * (er + tr) + (ei + ti) * (ei + ti);
        high[0] = (er - tr) * (er - tr) + (ei - ti) * (ei - ti);
    }
}

/* Natural logarithm of a normal number: exponent by its bits, fraction by the series of atanh, to 1.3e-6. */
static float logarithm(float x) {
    union {
        float number;
        uint32_t bits;
    } split;
    int32_t exponent;
    float s, s2;
    split.number = x;
    exponent = (int32_t)((split.bits - 0x3f3504f3u) >> 23) - (split.bits < 0x3f3504f3u ? 512 : 0);
    split.bits -= (uint32_t)exponent << 23; /* now within [sqrt(1/2), sqrt(2)) */
    s = (split.number - 1.0f) / (split.number + 1.0f);
    s2 = s * s;
    return (float)exponent * 0.69314718f + 2.0f * s * (1.0f + s2 * (0.33333333f + s2 * 0.2f));
}

static void bands(const float *x, float *log_mel) {
    float rising = 0.0f, at = 1.0f;
    int band, k = 1;
    for (band = 0; band <= MELS; ++band) {
        const float left = corner[band], inverse = 1.0f / (corner[band + 1] - left);
        const int last = band < MELS ? (int)corner[band + 1] : BINS - 1;
        float falling = 0.0f, next = 0.0f;
        for (; k <= last; ++k, at += 1.0f) {
            const float bin = x[2 * k], share = bin * ((at - left) * inverse);
            next += share;
            falling += bin - share;
        }
        if (band > 0) {
            float sum = 0.25f * (rising + falling);
            if (sum < 1e-9f) sum = 1e-9f;
            if (sum > 1e9f) sum = 1e9f;
            log_mel[band - 1] = logarithm(sum);
        }
        rising = next;
    }
}

static void transform(const int16_t *samples, float *log_mel) {
    float x[WINDOW];
    int block;
    load(x, samples);
    for (block = 0; block < BINS; block += 8) eight(x + 2 * block);
    fives(x, 8);
    fives(x, 40);
    power(x);
    bands(x, log_mel);
}

/* The frame of a full window; the samples move on to the next one. */
static void give(kws_frontend *frontend, float *log_mel) {
    int i;
    transform(frontend->samples + 1, log_mel);
    for (i = 0; i <= WINDOW - HOP; ++i) frontend->samples[i] = frontend->samples[i + HOP];
    frontend->begun = 1;
}

void kws_frontend_init(kws_frontend *frontend) {
    frontend->held = EDGE;
    frontend->begun = 0;
}

int kws_frontend_push(kws_frontend *frontend, const int16_t *samples, size_t count, size_t *used,
                      float log_mel[KWS_FRONTEND_MELS]) {
    int16_t *window = frontend->samples + 1;
    int i;
    *used = 0;
    while (frontend->held < WINDOW && *used < count) window[frontend->held++] = samples[(*used)++];
    if (frontend->held < WINDOW) return 0;
    if (!frontend->begun) {
        /* The left edge reflects the 200 samples after the first; the last of them belongs to the next window. */
        if (*used == count) return 0;
        window[0] = samples[*used];
        for (i = 1; i < EDGE; ++i) window[i] = window[WINDOW - i];
    }
    give(frontend, log_mel);
    frontend->held = WINDOW - HOP;
    return 1;
}

int kws_frontend_flush(kws_frontend *frontend, float log_mel[KWS_FRONTEND_MELS]) {
    int16_t *window = frontend->samples + 1;
    const int held = frontend->held;
    int i;
    if (!frontend->begun || held < EDGE) return 0;
    for (i = held; i < WINDOW; ++i) window[i] = window[2 * held - 2 - i];
    give(frontend, log_mel);
    /* Where 360 samples or more were there, their end is still inside the next window. */
    frontend->held = (uint16_t)(held - HOP);
    return 1;
}
