/* Every kernel that runs here against plain loops, without Python: for other processors under an emulator.
 *
 *     cc -std=c11 -D_GNU_SOURCE tests/native/check_kernels.c src/unveil/native/src/[a-z]*.c -lm -o check && ./check
 *
 * For random and hostile rows: bounds hold for every pair, no stop before the end loses one, scores agree to the bit.
 */
#include "../../src/unveil/native/src/unveil.h"

#include <stdio.h>
#include <stdlib.h>

int unveil_quantise(int32_t, const vectors *, int64_t, packed *, int64_t, int64_t, int32_t, const int32_t *, const float *);
int unveil_moments(int32_t, const vectors *, double *, double *);

static uint64_t state = 1;
static double uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / 9007199254740992.0 * 2 - 1;
}

#define CHECK(what, ...) \
    if (!(what)) { \
        fprintf(stderr, "%s: ", k->name), fprintf(stderr, __VA_ARGS__), fprintf(stderr, "\n"); \
        exit(1); \
    }

static float *unit_rows(int64_t n, int64_t d, int hostile) {
    float *rows = malloc(sizeof(float) * (size_t)(n * d));
    for (int64_t i = 0; i < n; i++) {
        double square = 0;
        for (int64_t k = 0; k < d; k++) {
            double x = uniform();
            if (hostile && k != i % d) x *= 1e-3;
            rows[i * d + k] = (float)x;
            square += x * x;
        }
        for (int64_t k = 0; k < d; k++) rows[i * d + k] = (float)(rows[i * d + k] / sqrt(square));
    }
    return rows;
}

static int index_of(const kernel *k) {
    int index = 0;
    while (KERNELS[index] != k) index++;
    return index;
}

static packed quantise(const kernel *k, const vectors *rows, int32_t width, int32_t bias, int32_t levels, int32_t stages,
                       const int32_t *ends) {
    packed p = {0};
    p.width = width, p.bias = bias, p.levels = levels, p.padded = width;
    p.steps = (int32_t)((rows->dims + 15) / 16 * 4);
    p.bytes = aligned_alloc(64, (size_t)(p.padded * p.steps * 4 + 63) / 64 * 64);
    p.scale = malloc(256), p.error = malloc(256), p.norm = malloc(256);
    p.rest = malloc(256 * 4), p.sum = malloc(256 * 5);
    CHECK(unveil_quantise(index_of(k), rows, 0, &p, 0, 1, stages, ends, 0) == DONE, "quantise");
    return p;
}

static void check_tile(const kernel *k, int64_t d, int hostile, int32_t stages, int32_t rankings) {
    float *queries = unit_rows(k->height, d, hostile), *gallery = unit_rows(k->width, d, hostile);
    memcpy(gallery + d * (k->width - 1), queries, sizeof(float) * (size_t)d);
    const vectors q = {(char *)queries, k->height, d, 4 * d, FLOAT32}, g = {(char *)gallery, k->width, d, 4 * d, FLOAT32};
    int32_t ends[MAX_STAGES];
    for (int32_t s = 0; s < stages; s++) ends[s] = (int32_t)((d + 15) / 16 * 4) * (s + 1) / (stages + 1);
    packed a = quantise(k, &q, k->height, 0, 127, stages, ends), b = quantise(k, &g, k->width, k->bias, k->levels, stages, ends);

    group rows = {0};
    tile t = {.a = a.bytes, .b = b.bytes, .rows = &rows, .stages = stages, .rankings = rankings};
    memcpy(t.stage_end, ends, sizeof ends);
    t.stage_end[stages] = a.steps;
    for (int i = 0; i < k->height; i++) {
        rows.start[i] = -k->bias * a.sum[i], rows.scale[i] = a.scale[i], rows.base[0][i] = a.error[i] * 1.01f + 1e-5f;
        rows.base[1][i] = rows.base[0][i] + 0.01f * (float)i;
        for (int s = 0; s < stages; s++) {
            rows.ahead[s][i] = k->bias * a.sum[(s + 1) * a.padded + i];
            rows.rest[s][i] = a.rest[s * a.padded + i];
        }
    }
    /* A second ranking with offsets of its own, so that each of the two needs pairs that the other does not. */
    for (double floor = -1; floor <= 1; floor += 0.125) {
        const double floors[MAX_RANKINGS] = {floor, 0.5 - floor};
        for (int r = 0; r < rankings; r++) {
            t.column_least[r] = (float)floors[r];
            for (int c = 0; c < k->width; c++) {
                t.column_base[r][c] = b.error[c] * 1.2f + (r ? 0.02f * (float)c : 0), t.column_floor[r][c] = (float)floors[r];
            }
            for (int i = 0; i < k->height; i++)
                t.row_floor[r][i] = INFINITY, t.row_need[r][i] = (float)floors[r] - rows.base[r][i];
        }
        for (int c = 0; c < k->width; c++) {
            t.column_scale[c] = b.scale[c];
            for (int s = 0; s < stages; s++) t.column_rest[s][c] = b.rest[s * b.padded + c];
        }
        const int any = k->multiply(&t);
        for (int i = 0; i < k->height; i++)
            for (int c = 0; c < k->width; c++) {
                const char *x = (char *)(queries + i * d), *y = (char *)(gallery + c * d);
                const double exact = kernel_scalar.cosine(x, FLOAT32, y, FLOAT32, d);
                const double over = rankings > 1 ? fmax(exact - floors[0], exact + 0.01 * i + 0.02 * c - floors[1])
                                                 : exact - floors[0];
                CHECK(k->cosine(x, FLOAT32, y, FLOAT32, d) == exact, "cosine of %d dimensions", (int)d);
                if (over >= 1e-6) CHECK(any && (t.hits[i] >> c & 1), "a pair of %g was lost at %g", exact, floor);
                if (any && (t.hits[i] >> c & 1)) CHECK(over >= -0.3, "%g is no hit at %g", exact, floor);
            }
    }
    free(queries), free(gallery);
    for (int side = 0; side < 2; side++) {
        packed *p = side ? &a : &b;
        free(p->bytes), free(p->scale), free(p->error), free(p->norm), free(p->rest), free(p->sum);
    }
}

/* Rows in a basis, against plain loops: the quantised values stand for the rotated row within their stated error. */
static void check_rotated(const kernel *k, int64_t d, int64_t n, int hostile) {
    float *rows = unit_rows(n, d, hostile), *basis = unit_rows(d, d, 0);
    const vectors in = {(char *)rows, n, d, 4 * d, FLOAT32};
    packed p = {0};
    p.width = k->width, p.bias = k->bias, p.levels = k->levels, p.padded = (n + k->width - 1) / k->width * k->width;
    p.steps = (int32_t)((d + 15) / 16 * 4);
    p.bytes = malloc((size_t)(p.padded * p.steps * 4));
    p.scale = malloc(4 * (size_t)p.padded), p.error = malloc(4 * (size_t)p.padded), p.norm = malloc(4 * (size_t)p.padded);
    p.rest = malloc(4 * (size_t)p.padded), p.sum = malloc(4 * (size_t)p.padded);
    CHECK(unveil_quantise(index_of(k), &in, 0, &p, 0, p.padded / k->width, 0, 0, basis) == DONE, "quantise");
    for (int64_t i = 0; i < p.padded; i++) {
        double lost = 0, whole = 0;
        for (int64_t c = 0; c < p.steps * 4; c++) {
            double exact = 0;
            for (int64_t e = 0; c < d && i < n && e < d; e++) exact += (double)rows[i * d + e] * basis[e * d + c];
            const uint8_t *at = p.bytes + i / k->width * p.steps * k->width * 4 + (c / 4 * k->width + i % k->width) * 4 + c % 4;
            const double left = exact - (double)p.scale[i] * (k->bias ? *at - k->bias : (int8_t)*at);
            lost += left * left, whole += exact * exact;
        }
        const double rounding = 1e-6 * sqrt((double)d) * (double)d;
        CHECK(sqrt(lost) <= p.error[i] + rounding && sqrt(lost) >= p.error[i] - rounding, "row %d of %d dimensions loses %g, not %g",
              (int)i, (int)d, sqrt(lost), (double)p.error[i]);
        CHECK(p.norm[i] >= sqrt(whole) - rounding, "norm");
    }
    free(rows), free(basis), free(p.bytes), free(p.scale), free(p.error), free(p.norm), free(p.rest), free(p.sum);
}

/* The same sums as plain loops, to the bit. */
static void check_moments(const kernel *k, int64_t d, int64_t n, int hostile) {
    float *rows = unit_rows(n + 1, d, hostile);
    double *total = malloc(sizeof(double) * (size_t)d), *products = malloc(sizeof(double) * (size_t)(d * d));
    const vectors in = {(char *)rows, n, d, 4 * d, FLOAT32};
    CHECK(unveil_moments(index_of(k), &in, total, products) == DONE, "moments");
    for (int64_t i = 0; i < d; i++) {
        double sum = 0;
        for (int64_t r = 0; r < n; r++) sum += rows[r * d + i];
        CHECK(total[i] == sum, "sum %d", (int)i);
        for (int64_t c = 0; c < d; c++) {
            double product = 0;
            for (int64_t r = 0; r < n; r++) product += (double)rows[r * d + i] * (double)rows[r * d + c];
            CHECK(products[i * d + c] == product, "product %d, %d of %d: %g, not %g", (int)i, (int)c, (int)d,
                  products[i * d + c], product);
        }
    }
    free(rows), free(total), free(products);
}

int main(void) {
    static const int64_t DIMS[] = {1, 3, 16, 31, 128, 129, 512};
    for (int index = 0;; index++) { /* the scalar kernel is the last */
        const kernel *k = KERNELS[index];
        if (!k->available()) {
            printf("%s: not on this processor\n", k->name);
        } else {
            for (size_t n = 0; n < sizeof DIMS / sizeof *DIMS; n++)
                for (int hostile = 0; hostile < 2; hostile++) {
                    check_rotated(k, DIMS[n], n % 2 ? 5 : 101, hostile);
                    check_moments(k, DIMS[n], n % 2 ? 300 : 1, hostile);
                    for (int32_t stages = 0; stages <= MAX_STAGES; stages++)
                        for (int32_t rankings = 1; rankings <= MAX_RANKINGS; rankings++)
                            check_tile(k, DIMS[n], hostile, stages, rankings);
                }
            printf("%s: ok\n", k->name);
        }
        if (k == &kernel_scalar) return 0;
    }
}
