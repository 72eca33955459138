/* Raw 16-bit 16 kHz samples on standard input; the time and score of each step on standard output.
 *
 * On a microcontroller the loop is the same, with samples from the microphone's buffer. */
#include <stdio.h>

#include "kws_frontend.h"
#include "kws_model.h"

/* 65536 * ln(p / (1 - p)) for a threshold of p = .9. */
#define THRESHOLD 143999

static kws_frontend frontend;
static kws_model model;
static unsigned long frames;

/* One frame of features; says where a step is complete. */
static void hear(const float *log_mel) {
    kws_value mel[KWS_MODEL_MELS];
    int32_t logits[KWS_MODEL_CLASSES];
    kws_model_quantize(log_mel, mel);
    ++frames;
    if (kws_model_push(&model, mel, logits)) {
        const int32_t score = logits[KWS_MODEL_CLASSES - 1] - logits[0];
        printf("%.2f s %ld%s\n", 0.01 * (double)frames, (long)score, score >= THRESHOLD ? " keyword" : "");
    }
}

int main(void) {
    int16_t block[160];
    float log_mel[KWS_FRONTEND_MELS];
    size_t count, used, at;
    kws_frontend_init(&frontend);
    kws_model_init(&model);
    while ((count = fread(block, sizeof block[0], 160, stdin)) > 0) {
        for (at = 0; kws_frontend_push(&frontend, block + at, count - at, &used, log_mel); at += used) hear(log_mel);
    }
    while (kws_frontend_flush(&frontend, log_mel)) hear(log_mel);
    return 0;
}
