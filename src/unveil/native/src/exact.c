/* The definition of a cosine (compare/exact.py), and numbers rounded to the safe side. */
#include "unveil.h"


double tree_sum(double *lanes) {
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    float value;
    if (exponent == 0) {
        value = ldexpf((float)fraction, -24);
        return sign ? -value : value;
    }
    uint32_t bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    memcpy(&value, &bits, 4);
    return value;
}

float below(double value) {
    float narrow = (float)value;
    return narrow > value ? nextafterf(narrow, -INFINITY) : narrow;
}

float above(double value) {
    float narrow = (float)value;
    return narrow < value ? nextafterf(narrow, INFINITY) : narrow;
}

static double cosine(const char *a, int32_t a_type, const char *b, int32_t b_type, int64_t dims) {
    double lanes[LANES] = {0};
    for (int64_t k = 0; k < dims; k++) {
        float x, y;
        uint16_t half;
        if (a_type == FLOAT16) memcpy(&half, a + 2 * k, 2), x = half_to_float(half);
        else memcpy(&x, a + 4 * k, 4);
        if (b_type == FLOAT16) memcpy(&half, b + 2 * k, 2), y = half_to_float(half);
        else memcpy(&y, b + 4 * k, 4);
        lanes[k % LANES] += (double)x * (double)y;
    }
    return tree_sum(lanes);
}

/* The slow truth of the tile: one pair at a time, to the end. */
static int multiply(tile *t) {
    const int height = kernel_scalar.height, width = kernel_scalar.width;
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j++) {
            t->dot[i][j] = t->rows->start[i];
            for (int k = 0; k < t->stage_end[t->stages]; k++)
                for (int e = 0; e < 4; e++)
                    t->dot[i][j] += (int8_t)t->a[(k * height + i) * 4 + e] * t->b[(k * width + j) * 4 + e];
        }
    return find_hits(t, height, width);
}

static void quantise(const float *x, int64_t row, packed *out, int8_t *values, int32_t stages, const int32_t *ends) {
    quantise_row(x, row, out, values, stages, ends);
}

static int always(void) { return 1; }

#define TARGET
#define DENSE_HEIGHT 4
#define DENSE_BYTES 16
#define FLOATS_FMA(a, b, c) ((a) * (b) + (c))
#define DOUBLES_FMA(a, b, c) ((a) * (b) + (c))
#define FLOATS_OF(x) ((floats){x, x, x, x})
#define DOUBLES_OF(x) ((doubles){x, x})
#include "dense.h"

const kernel kernel_scalar = {"scalar", 4, 16, 128, 127, always, multiply, quantise, cosine, &DENSE};
