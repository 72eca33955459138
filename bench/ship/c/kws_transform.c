/* A stage for each factor of the number of points, the last of the plain sums. */

/* The Hann window over samples of 1 / 32768, in the order that the butterflies want, as pairs (even, odd). */
static void load(float *x, const int16_t *samples) {
    const float half = 0.5f / 32768.0f;
    int i;
    for (i = 0; i < BINS; ++i) {
        float *point = x + 2 * place[i];
        point[0] = (float)samples[2 * i] * (half - half * cosine(2 * i * SAMPLE));
        point[1] = (float)samples[2 * i + 1] * (half - half * cosine((2 * i + 1) * SAMPLE));
    }
}

#if FOURS
/* Four points at distance `step` floats, in place. */
static void four(float *x, int step) {
    float *b = x + step, *c = b + step, *d = c + step;
    const float er = x[0] + c[0], ei = x[1] + c[1], fr = x[0] - c[0], fi = x[1] - c[1];
    const float gr = b[0] + d[0], gi = b[1] + d[1], hr = b[0] - d[0], hi = b[1] - d[1];
    x[0] = er + gr;
    x[1] = ei + gi;
    b[0] = fr + hi;
    b[1] = fi - hr;
    c[0] = er - gr;
    c[1] = ei - gi;
    d[0] = fr - hi;
    d[1] = fi + hr;
}
#endif

#if TWOS
static void two(float *x, int step) {
    const float br = x[step], bi = x[step + 1];
    x[step] = x[0] - br;
    x[step + 1] = x[1] - bi;
    x[0] += br;
    x[1] += bi;
}
#endif

#if LARGEST
/* An odd number of points, each with the one as far from the other end: what both add up to, and differ by. */
static void odd(float *x, int step, int points) {
    float sum[LARGEST], difference[LARGEST];
    const float re = x[0], im = x[1];
    const int half = points / 2;
    int i, k;
    for (i = 0; i < half; ++i) {
        const float *low = x + (i + 1) * step, *high = x + (points - 1 - i) * step;
        sum[2 * i] = low[0] + high[0];
        sum[2 * i + 1] = low[1] + high[1];
        difference[2 * i] = low[0] - high[0];
        difference[2 * i + 1] = low[1] - high[1];
        x[0] += sum[2 * i];
        x[1] += sum[2 * i + 1];
    }
    for (k = 1; k <= half; ++k) {
        float *low = x + k * step, *high = x + (points - k) * step;
        float ar = re, ai = im, br = 0.0f, bi = 0.0f;
        int angle = 0;
        for (i = 0; i < half; ++i) {
            float c, s;
            angle += k * (TURN / points);
            if (angle >= TURN) angle -= TURN;
            c = cosine(angle);
            s = sine(angle);
            ar += c * sum[2 * i];
            ai += c * sum[2 * i + 1];
            br += s * difference[2 * i + 1];
            bi += s * difference[2 * i];
        }
        low[0] = ar + br;
        low[1] = ai - bi;
        high[0] = ar - br;
        high[1] = ai + bi;
    }
}
#endif

static void together(float *x, int step, int points) {
#if FOURS
    if (points == 4) four(x, step);
#endif
#if TWOS
    if (points == 2) two(x, step);
#endif
#if LARGEST
    if (points & 1) odd(x, step, points);
#endif
}

/* Combines transforms of `span` points to transforms of `times` as many. */
static void combine(float *x, int span, int times) {
    int column, block, i;
    for (column = 0; column < span; ++column) {
        for (i = 1; i < times; ++i) {
            const int angle = column * i * (TURN / times / span);
            const float c = cosine(angle), s = sine(angle);
            for (block = column + i * span; block < BINS; block += times * span) {
                float *point = x + 2 * block;
                const float re = point[0];
                point[0] = re * c + point[1] * s;
                point[1] = point[1] * c - re * s;
            }
        }
        for (block = column; block < BINS; block += times * span) together(x + 2 * block, 2 * span, times);
    }
}

static void transform(float *x, const int16_t *samples) {
    load(x, samples);
/*{stages}*/
}
