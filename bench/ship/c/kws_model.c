/* See kws_model.h. Of the operations only those are here that the model has; weights stand in the order in which
 * they are read. */
#include "kws_model.h"

#define VALUE_MAX ((1 << (KWS_MODEL_ACTIVATION_BITS - 1)) - 1)
#define GATE_ONE 32768

/* What is called in many places stays one function: inlined it would triple the code. */
#if defined(__GNUC__)
#define SEPARATE __attribute__((noinline))
#else
#define SEPARATE
#endif

/* What this code takes for granted, checked when it is compiled. */
typedef char kws_shifts_are_arithmetic[((-3) >> 1) == -2 ? 1 : -1];
typedef char kws_buffer_fits[KWS_MODEL_BUFFER >= 1 && KWS_MODEL_BUFFER <= 65535 ? 1 : -1];

/*{weights}*/

/*{layers}*/

/*{program}*/

void kws_model_quantize(const float log_mel[KWS_MODEL_MELS], kws_value mel[KWS_MODEL_MELS]) {
    int i;
    for (i = 0; i < KWS_MODEL_MELS; ++i) {
        const float value = log_mel[i] * (float)(1 << KWS_MODEL_INPUT_BITS);
        int32_t whole;
        if (!(value > -40000.0f)) {
            whole = -40000;
        } else if (value > 40000.0f) {
            whole = 40000;
        } else {
            /* To the nearest, ties to even. */
            float rest;
            whole = (int32_t)value;
            rest = value - (float)whole;
            if (rest > 0.5f || (rest == 0.5f && (whole & 1))) ++whole;
            if (rest < -0.5f || (rest == -0.5f && (whole & 1))) --whole;
        }
        mel[i] = (kws_value)limited(whole + KWS_MODEL_INPUT_ZERO, VALUE_MAX);
    }
}
