/* A keyword spotter: convolution, GRU, attention over the last frames. C99, integers only, no allocation.
 *
 * Made by `bench export --format c`. Every number equals that of the integer model in NumPy. */
#ifndef KWS_MODEL_H
#define KWS_MODEL_H

#include <stdint.h>

/*{sizes}*/

/* Model frames that attention looks back on; a clip of more is judged by its last ones. At most 255. */
#ifndef KWS_MODEL_BUFFER
#define KWS_MODEL_BUFFER 24
#endif

/* Quantized log-mel, and what layers hand to each other. */
#if KWS_MODEL_ACTIVATION_BITS == 8
typedef int8_t kws_value;
#else
typedef int16_t kws_value;
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* All that a stream remembers; several streams can share the weights. */
typedef struct {
    int16_t hidden[KWS_MODEL_LAYERS][KWS_MODEL_HIDDEN];
    int16_t energies[KWS_MODEL_BUFFER];
    kws_value outputs[KWS_MODEL_BUFFER][KWS_MODEL_HIDDEN];
    kws_value mel[KWS_MODEL_MELS][KWS_MODEL_KERNEL_TIME];
    uint8_t held;   /* mel frames in `mel` */
    uint8_t skip;   /* mel frames to leave out before the next window */
    uint8_t frames; /* model frames in the buffer */
    uint8_t next;   /* where the next one goes */
} kws_model;

/* Call before the first frame, and again before audio that does not go on from the last. */
void kws_model_init(kws_model *model);

/* One frame of 10 ms. Gives 1 where it completes a window and `logits` is new, else 0.
 *
 * Logits have 16 fraction bits; the last class is the keyword. Its probability is p or more where
 * logits[1] - logits[0] >= 65536 * ln(p / (1 - p)), so a threshold is one number made ahead. */
int kws_model_push(kws_model *model, const kws_value mel[KWS_MODEL_MELS], int32_t logits[KWS_MODEL_CLASSES]);

/* A whole clip, frame after frame; `model` is scratch. Gives 0 where the clip is shorter than a window. */
int kws_model_clip(kws_model *model, const kws_value *mel, uint16_t mel_frames,
                   int32_t logits[KWS_MODEL_CLASSES]);

/* Log-mel to what `kws_model_push` takes. The one function with floating point; not linked if not called. */
void kws_model_quantize(const float log_mel[KWS_MODEL_MELS], kws_value mel[KWS_MODEL_MELS]);

#ifdef __cplusplus
}
#endif

#endif
