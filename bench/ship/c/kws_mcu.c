/* What `bench mcu` links around the exported code: room for one stream's state, whose sizes it reads. */
#include "kws_frontend.h"
#include "kws_model.h"

kws_model kws_mcu_model;
kws_frontend kws_mcu_frontend;
