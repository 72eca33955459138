/* Raw 16-bit 16 kHz samples on standard input; the time and score of each step on standard output, and which word
 * it is where that is sure.
 *
 * On a microcontroller the loop is the same, with samples from the microphone's buffer. */
#include <stdio.h>

#include "kws_frontend.h"
#include "kws_model.h"

/* 65536 * ln(p / (1 - p)) for a threshold of p = .9; see kws_model.h for more than two classes. */
#define THRESHOLD 143999

static const char *const names[KWS_MODEL_CLASSES] = KWS_MODEL_NAMES;
static const char finds[KWS_MODEL_CLASSES] = KWS_MODEL_FINDS;
static kws_frontend frontend;
static kws_model model;
static unsigned long frames;

/* How far a class's logit stands above the largest other. */
static int32_t margin(const int32_t *logits, int at) {
    int32_t most = INT32_MIN;
    int k;
    for (k = 0; k < KWS_MODEL_CLASSES; ++k) {
        if (k != at && logits[k] > most) most = logits[k];
    }
    return logits[at] - most;
}

/* One frame of features; says where a step is complete. */
static void hear(const float *log_mel) {
    kws_value mel[KWS_MODEL_MELS];
    int32_t logits[KWS_MODEL_CLASSES];
    kws_model_quantize(log_mel, mel);
    ++frames;
    if (kws_model_push(&model, mel, logits)) {
        const double hop_s = (double)KWS_FRONTEND_HOP / KWS_FRONTEND_RATE_HZ;
        int32_t score = INT32_MIN;
        int k, word = 0;
        for (k = 0; k < KWS_MODEL_CLASSES; ++k) {
            if (finds[k] && margin(logits, k) > score) score = margin(logits, word = k);
        }
        printf("%.2f s %ld %s\n", hop_s * (double)frames, (long)score, score >= THRESHOLD ? names[word] : "");
    }
}

int main(void) {
    int16_t block[KWS_FRONTEND_HOP];
    float log_mel[KWS_FRONTEND_MELS];
    size_t count, used, at;
    kws_frontend_init(&frontend);
    kws_model_init(&model);
    while ((count = fread(block, sizeof block[0], KWS_FRONTEND_HOP, stdin)) > 0) {
        for (at = 0; kws_frontend_push(&frontend, block + at, count - at, &used, log_mel); at += used) hear(log_mel);
    }
    while (kws_frontend_flush(&frontend, log_mel)) hear(log_mel);
    return 0;
}
