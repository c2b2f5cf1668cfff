/* Rows to int8 with the norm of what is lost: |a.b - a'.b'| <= error_a |b| + |a'| error_b (Cauchy-Schwarz). */
#include "unveil.h"

#include <stdlib.h>

enum { BLOCK_ROWS = 48 }; /* brought into the basis at once: they and a strip of the basis stay in the cache */

/* Bytes of zeros that begin a line of the cache; null when there is no memory. */
void *zeros(int64_t size) {
    const size_t whole = ((size_t)size + 63) / 64 * 64;
    void *out = aligned_alloc(64, whole ? whole : 64);
    return out ? memset(out, 0, whole) : 0;
}

void load_row(const vectors *in, int64_t row, float *x) {
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

/* A basis (dims, dims) in strips of `width` columns, the last one padded with zeros; null when there is no memory. */
static float *in_strips(const float *basis, int64_t dims, int64_t width, int64_t strips) {
    float *out = zeros(strips * dims * width * (int64_t)sizeof *out);
    for (int64_t k = 0; out && k < dims; k++)
        for (int64_t s = 0; s < strips; s++) {
            const int64_t left = dims - s * width < width ? dims - s * width : width;
            memcpy(out + (s * dims + k) * width, basis + k * dims + s * width, (size_t)left * sizeof *out);
        }
    return out;
}

/* Strips [first, last) of `out` from the rows of `in`, which start at row `in_first`, in `basis` (dims, dims) unless that is
 * null. Threads may share `out`. */
UNVEIL_PUBLIC int unveil_quantise(int32_t kernel_index, const vectors *in, int64_t in_first, packed *out, int64_t first,
                                  int64_t last, int32_t stages, const int32_t *stage_end, const float *basis) {
    const kernel *k = KERNELS[kernel_index];
    const int64_t width = out->width, steps = out->steps, dims = in->dims;
    const int64_t strips = (dims + k->dense->float_columns - 1) / k->dense->float_columns;
    const int64_t rotated = strips * k->dense->float_columns, stride = rotated > steps * 4 ? rotated : steps * 4;
    float *x = zeros(BLOCK_ROWS * stride * (int64_t)sizeof *x);
    float *turned = basis ? zeros(BLOCK_ROWS * stride * (int64_t)sizeof *turned) : 0;
    float *packed_basis = basis ? in_strips(basis, dims, k->dense->float_columns, strips) : 0;
    int8_t *values = calloc((size_t)steps, 4);
    int status = x && values && (!basis || (turned && packed_basis)) ? DONE : NO_MEMORY;
    for (int64_t start = first * width; status == DONE && start < last * width; start += BLOCK_ROWS) {
        const int64_t n = last * width - start < BLOCK_ROWS ? last * width - start : BLOCK_ROWS;
        for (int64_t r = 0; r < BLOCK_ROWS; r++) {
            const int64_t from = start + r - in_first;
            if (r < n && from < in->n) load_row(in, from, x + r * stride);
            else memset(x + r * stride, 0, (size_t)stride * sizeof *x);
        }
        if (basis) k->dense->rotate(x, stride, BLOCK_ROWS, packed_basis, dims, strips, turned, stride);
        for (int64_t r = 0; r < n; r++) {
            const int64_t row = start + r, strip = row / width, i = row % width;
            uint8_t *to = out->bytes + strip * steps * width * 4;
            k->quantise((basis ? turned : x) + r * stride, row, out, values, stages, stage_end);
            for (int64_t step = 0; step < steps; step++) {
                uint8_t four[4];
                for (int e = 0; e < 4; e++) four[e] = (uint8_t)(values[4 * step + e] + out->bias);
                memcpy(to + (step * width + i) * 4, four, 4);
            }
        }
    }
    free(x), free(turned), free(packed_basis), free(values);
    return status;
}
