/* Rows to int8 with the norm of what is lost: |a.b - a'.b'| <= error_a |b| + |a'| error_b (Cauchy-Schwarz). */
#include "unveil.h"

#include <stdlib.h>

static void load_row(const vectors *in, int64_t row, float *x) {
    const char *from = in->data + row * in->stride;
    if (in->type == FLOAT32) {
        memcpy(x, from, (size_t)in->dims * 4);
        return;
    }
    for (int64_t k = 0; k < in->dims; k++) {
        uint16_t half;
        memcpy(&half, from + 2 * k, 2);
        x[k] = half_to_float(half);
    }
}

/* Strips [first, last) of `out` from the rows of `in`, which start at row `in_first`. Threads may share `out`. */
UNVEIL_PUBLIC int unveil_quantise(int32_t kernel_index, const vectors *in, int64_t in_first, packed *out, int64_t first,
                                  int64_t last, int32_t stages, const int32_t *stage_end) {
    const kernel *k = KERNELS[kernel_index];
    const int64_t width = out->width, steps = out->steps;
    float *x = calloc((size_t)steps, 16);
    int8_t *values = calloc((size_t)steps, 4);
    if (!x || !values) {
        free(x), free(values);
        return NO_MEMORY;
    }
    for (int64_t strip = first; strip < last; strip++) {
        uint8_t *to = out->bytes + strip * steps * width * 4;
        for (int64_t i = 0; i < width; i++) {
            const int64_t row = strip * width + i, from = row - in_first;
            if (from < in->n) load_row(in, from, x);
            else memset(x, 0, (size_t)steps * 16);
            k->quantise(x, row, out, values, stages, stage_end);
            for (int64_t step = 0; step < steps; step++) {
                uint8_t four[4];
                for (int e = 0; e < 4; e++) four[e] = (uint8_t)(values[4 * step + e] + out->bias);
                memcpy(to + (step * width + i) * 4, four, 4);
            }
        }
    }
    free(x), free(values);
    return DONE;
}
