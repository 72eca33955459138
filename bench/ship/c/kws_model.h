/* A keyword spotter. C99, integers only, no allocation.
 *
 * Made by `bench export --format c`. Every number equals that of the integer model in NumPy. */
#ifndef KWS_MODEL_H
#define KWS_MODEL_H

#include <stdint.h>

/*{sizes}*/

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

/* One frame of 10 ms. Gives 1 where it completes a step and `logits` is new, else 0.
 *
 * Logits have 16 fraction bits; the last class is the keyword. Its probability is p or more where
 * logits[1] - logits[0] >= 65536 * ln(p / (1 - p)), so a threshold is one number made ahead. */
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
