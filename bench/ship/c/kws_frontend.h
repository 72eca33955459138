/* Log-mel features of a stream of 16 kHz samples: C99, single precision, no allocation, no library.
 *
 * /*{frontend_about}*/ on the HTK scale, natural logarithm of the power clamped to
 * [1e-9, 1e9]. The first window is centred on the first sample, so both ends of the audio are reflected. */
#ifndef KWS_FRONTEND_H
#define KWS_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

/*{frontend_sizes}*/

#ifdef __cplusplus
extern "C" {
#endif

/* All that a stream remembers. */
typedef struct {
    int16_t samples[KWS_FRONTEND_WINDOW + 1]; /* the window being filled, and the sample before it */
    uint16_t held;                            /* how much of the window is there */
    uint8_t begun;                            /* whether the first frame has been given */
} kws_frontend;

/* Call before the first sample, and again before audio that does not go on from the last. */
void kws_frontend_init(kws_frontend *frontend);

/* Takes samples until they are used up or a frame is complete.
 *
 * `*used` says how many were taken, perhaps none: call again with the rest. Gives 1 where `log_mel` now holds
 * a frame, else 0. How the audio is cut makes no difference. */
int kws_frontend_push(kws_frontend *frontend, const int16_t *samples, size_t count, size_t *used,
                      float log_mel[KWS_FRONTEND_MELS]);

/* Call after the last sample until it gives 0: the frames that are left, with the right edge reflected.
 *
 * Audio of half a window or less has no frames. Call `kws_frontend_init` before anything else follows. */
int kws_frontend_flush(kws_frontend *frontend, float log_mel[KWS_FRONTEND_MELS]);

#ifdef __cplusplus
}
#endif

#endif
