/* Sums of rows and of the products of their columns, in double: each product of two floats is exact, and sums go row by
 * row, so every kernel gives the same bits. */
#include "unveil.h"

#include <stdlib.h>

enum { CAPACITY = 128 }; /* rows that are added at once: they stay in the cache */

/* `total` (dims) and `products` (dims, dims) of all rows. */
UNVEIL_PUBLIC int unveil_moments(int32_t kernel_index, const vectors *in, double *total, double *products) {
    const dense *k = KERNELS[kernel_index]->dense;
    const int64_t dims = in->dims, width = k->double_columns, strips = (dims + width - 1) / width;
    const int64_t padded = strips * width + MAX_HEIGHT;
    float *row = malloc((size_t)dims * sizeof *row);
    double *x = zeros(strips * width * CAPACITY * (int64_t)sizeof *x);
    double *sums = zeros(padded * padded * (int64_t)sizeof *sums);
    if (!row || !x || !sums) {
        free(row), free(x), free(sums);
        return NO_MEMORY;
    }
    memset(total, 0, (size_t)dims * sizeof *total);
    for (int64_t first = 0; first < in->n; first += CAPACITY) {
        const int64_t n = in->n - first < CAPACITY ? in->n - first : CAPACITY;
        for (int64_t r = 0; r < n; r++) {
            load_row(in, first + r, row);
            for (int64_t c = 0; c < dims; c++) total[c] += row[c];
            for (int64_t s = 0; s < strips; s++) {
                double *to = x + (s * CAPACITY + r) * width;
                const int64_t left = dims - s * width < width ? dims - s * width : width;
                for (int64_t c = 0; c < left; c++) to[c] = row[s * width + c];
            }
        }
        k->add_moments(x, n, CAPACITY, strips, sums, padded);
    }
    for (int64_t i = 0; i < dims; i++)
        for (int64_t c = 0; c < dims; c++) {
            const int64_t low = i < c ? i : c, high = i < c ? c : i;
            products[i * dims + c] = sums[low * padded + high];
        }
    free(row), free(x), free(sums);
    return DONE;
}
