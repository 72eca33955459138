/* 200 points = 8 * 5 * 5, in radix 8 and twice 5: factors are read once for a whole column of butterflies, so
 * that finding the quadrant costs little. */

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

static void transform(float *x, const int16_t *samples) {
    int block;
    load(x, samples);
    for (block = 0; block < BINS; block += 8) eight(x + 2 * block);
    fives(x, 8);
    fives(x, 40);
}
