/* See kws_frontend.h.
 *
 * A window of real samples is a complex transform of half as many points, done in place; every twiddle factor and
 * the window come from one quarter of a cosine. The triangles of the mel bands are computed from their corners, as
 * two lines cross each bin and add up to 1. */
#include "kws_frontend.h"

#define WINDOW KWS_FRONTEND_WINDOW
#define HOP KWS_FRONTEND_HOP
#define MELS KWS_FRONTEND_MELS
#define EDGE (WINDOW / 2)
#define BINS (WINDOW / 2)

/*{tables}*/

/* Of an angle in so many parts of a turn. */
static float cosine(int angle) {
    if (angle < 0) angle = -angle;
    if (angle > TURN / 2) angle = TURN - angle;
    return angle > TURN / 4 ? -quarter[TURN / 2 - angle] : quarter[angle];
}

static float sine(int angle) { return cosine(angle - TURN / 4); }

/*{transform}*/

/* Power of all bins but the first and the last, bin k at x[2 k], from the complex transform of the pairs. Times 4. */
static void power(float *x) {
    int k;
    for (k = 1; k <= BINS / 2; ++k) {
        float *low = x + 2 * k, *high = x + 2 * (BINS - k);
        const float er = low[0] + high[0], ei = low[1] - high[1];
        const float vr = low[1] + high[1], vi = high[0] - low[0];
        const float c = cosine(k * SAMPLE), s = sine(k * SAMPLE);
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

static void frame(const int16_t *samples, float *log_mel) {
    float x[WINDOW];
    transform(x, samples);
    power(x);
    bands(x, log_mel);
}

/* The frame of a full window; the samples move on to the next one. */
static void give(kws_frontend *frontend, float *log_mel) {
    int i;
    frame(frontend->samples + 1, log_mel);
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
        /* The left edge reflects the samples after the first; the last of them belongs to the next window. */
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
    /* Where the end of the audio is still inside the next window, that one is given too. */
    frontend->held = (uint16_t)(HOP > EDGE && held < HOP ? 0 : held - HOP);
    return 1;
}
