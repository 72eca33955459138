/* A keyword spotter. C99, integers only, no allocation.
 *
 * Made by `bench export --format c`. Every number equals that of the integer model in NumPy. */
#ifndef KWS_MODEL_H
#define KWS_MODEL_H

#include <stdint.h>

/*{sizes}*/

/* NAMES and FINDS are for arrays, `const char *const names[KWS_MODEL_CLASSES] = KWS_MODEL_NAMES;`: what a class
 * is called, and whether it is a word to find. */

/* Frames that attention and means over time look back on; a clip of more is judged by its last ones. */
#ifndef KWS_MODEL_BUFFER
#define KWS_MODEL_BUFFER /*{buffer}*/
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

/*{state}*/

/* Call before the first frame, and again before audio that does not go on from the last. */
void kws_model_init(kws_model *model);

/* One frame of the front end. Gives 1 where it completes a step and `logits` is new, else 0.
 *
 * Logits have 16 fraction bits. Of two classes the second's probability is p or more where logits[1] - logits[0]
 * >= 65536 * ln(p / (1 - p)), so a threshold is one number made ahead. Of K, that of class k is where logits[k]
 * stands above the largest other by so much and 65536 * ln(K - 1) more, if not before. */
int kws_model_push(kws_model *model, const kws_value mel[KWS_MODEL_MELS], int32_t logits[KWS_MODEL_CLASSES]);

/* A whole clip, frame after frame; `model` is scratch. Gives 0 where the clip is too short for a decision. */
int kws_model_clip(kws_model *model, const kws_value *mel, uint16_t mel_frames,
                   int32_t logits[KWS_MODEL_CLASSES]);

/* Log-mel to what `kws_model_push` takes. The one function with floating point; not linked if not called. */
void kws_model_quantize(const float log_mel[KWS_MODEL_MELS], kws_value mel[KWS_MODEL_MELS]);

#ifdef __cplusplus
}
#endif

#endif
