/* NEON with the dot product instruction (ARMv8.2): 8 queries x 12 gallery rows in 24 accumulators. */
#include "unveil.h"
#if defined(UNVEIL_NEON)

#include <arm_neon.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__clang__)
#define TARGET __attribute__((target("dotprod")))
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
enum { HEIGHT = 8, VECTORS = 3, WIDTH = 4 * VECTORS };

static int available(void) {
#if defined(__APPLE__)
    return 1; /* every Apple silicon has it */
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return 0;
#endif
}

TARGET static inline float32x4_t upper_bound(const tile *t, int32x4_t dot, int r, int i, int v) {
    const float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(dot), vld1q_f32(t->column_scale + 4 * v));
    return vfmaq_n_f32(vld1q_f32(t->column_base[r] + 4 * v), scaled, t->rows->scale[i]);
}

TARGET static int multiply(tile *t) {
    const int8_t *gallery = (const int8_t *)t->b;
    const int32_t *query = (const int32_t *)t->a;
    int32x4_t acc[HEIGHT][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < HEIGHT; i++)
        for (int v = 0; v < VECTORS; v++) acc[i][v] = vdupq_n_s32(t->rows->start[i]);
    int32_t k = 0;
    for (int32_t stage = 0;; stage++) {
        for (; k < t->stage_end[stage]; k++, gallery += 4 * WIDTH, query += HEIGHT) {
            const int8x16_t b0 = vld1q_s8(gallery), b1 = vld1q_s8(gallery + 16), b2 = vld1q_s8(gallery + 32);
#pragma GCC unroll 8
            for (int i = 0; i < HEIGHT; i++) {
                const int8x16_t a = vreinterpretq_s8_s32(vld1q_dup_s32(query + i));
                acc[i][0] = vdotq_s32(acc[i][0], b0, a);
                acc[i][1] = vdotq_s32(acc[i][1], b1, a);
                acc[i][2] = vdotq_s32(acc[i][2], b2, a);
            }
        }
        const int last = stage == t->stages;
        uint32x4_t any = vdupq_n_u32(0);
        for (int r = 0; r < t->rankings; r++) {
            for (int i = 0; i < HEIGHT; i++)
                for (int v = 0; v < VECTORS; v++) {
                    float32x4_t upper;
                    if (last) upper = upper_bound(t, acc[i][v], r, i, v);
                    else {
                        const int32x4_t dot = vaddq_s32(acc[i][v], vdupq_n_s32(t->rows->ahead[stage][i]));
                        const float32x4_t rest = vld1q_f32(t->column_rest[stage] + 4 * v);
                        upper = vfmaq_n_f32(upper_bound(t, dot, r, i, v), rest, t->rows->rest[stage][i]);
                    }
                    any = vorrq_u32(any, vcgeq_f32(upper, vdupq_n_f32(t->row_need[r][i])));
                }
            if (vmaxvq_u32(any)) break;
        }
        if (!vmaxvq_u32(any)) return 0;
        if (last) break;
    }
    for (int i = 0; i < HEIGHT; i++)
        for (int v = 0; v < VECTORS; v++) vst1q_s32(t->dot[i] + 4 * v, acc[i][v]);
    return find_hits(t, HEIGHT, WIDTH);
}

static void quantise(const float *x, int64_t row, packed *out, int8_t *values, int32_t stages, const int32_t *ends) {
    quantise_row(x, row, out, values, stages, ends);
}

TARGET static inline float32x4_t four(const char *from, int32_t type, int64_t k) {
    if (type == FLOAT16) {
        uint16x4_t halves;
        memcpy(&halves, from + 2 * k, 8);
        return vcvt_f32_f16(vreinterpret_f16_u16(halves));
    }
    float32x4_t values;
    memcpy(&values, from + 4 * k, 16);
    return values;
}

TARGET static void add_products(float64x2_t *sum, const char *a, int32_t a_type, const char *b, int32_t b_type,
                                int64_t k) {
    for (int v = 0; v < LANES / 4; v++) {
        const float32x4_t x = four(a, a_type, k + 4 * v), y = four(b, b_type, k + 4 * v);
        sum[2 * v] = vfmaq_f64(sum[2 * v], vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)));
        sum[2 * v + 1] = vfmaq_f64(sum[2 * v + 1], vcvt_high_f64_f32(x), vcvt_high_f64_f32(y));
    }
}

TARGET static double cosine(const char *a, int32_t a_type, const char *b, int32_t b_type, int64_t dims) {
    double lanes[LANES];
    float64x2_t sum[LANES / 2];
    for (int v = 0; v < LANES / 2; v++) sum[v] = vdupq_n_f64(0);
    int64_t k = 0;
    for (; k + LANES <= dims; k += LANES) add_products(sum, a, a_type, b, b_type, k);
    if (k < dims) {
        char rest[2][4 * LANES] = {{0}};
        const int64_t a_size = a_type == FLOAT16 ? 2 : 4, b_size = b_type == FLOAT16 ? 2 : 4;
        memcpy(rest[0], a + a_size * k, (size_t)(a_size * (dims - k)));
        memcpy(rest[1], b + b_size * k, (size_t)(b_size * (dims - k)));
        add_products(sum, rest[0], a_type, rest[1], b_type, 0);
    }
    for (int v = 0; v < LANES / 2; v++) vst1q_f64(lanes + 2 * v, sum[v]);
    return tree_sum(lanes);
}

#define DENSE_HEIGHT 8
#define DENSE_BYTES 16
#define FLOATS_FMA(a, b, c) (floats)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define DOUBLES_FMA(a, b, c) (doubles)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#define FLOATS_OF(x) (floats)vdupq_n_f32(x)
#define DOUBLES_OF(x) (doubles)vdupq_n_f64(x)
#include "dense.h"

const kernel kernel_neon = {"neon", HEIGHT, WIDTH, 0, 127, available, multiply, quantise, cosine, &DENSE};
#endif
