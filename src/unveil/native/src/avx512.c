/* AVX-512 VNNI: 8 queries x 48 gallery rows in 24 accumulators. */
#if defined(__x86_64__)
#include "unveil.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")))
enum { HEIGHT = 8, VECTORS = 3, WIDTH = 16 * VECTORS };

static int available(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

#define EACH_VECTOR(DO, i) DO(i, 0) DO(i, 1) DO(i, 2)
#define EACH(DO) \
    EACH_VECTOR(DO, 0) EACH_VECTOR(DO, 1) EACH_VECTOR(DO, 2) EACH_VECTOR(DO, 3) \
    EACH_VECTOR(DO, 4) EACH_VECTOR(DO, 5) EACH_VECTOR(DO, 6) EACH_VECTOR(DO, 7)

/* GCC 12 spills the accumulators of _mm512_dpbusd_epi32, which halves the speed; "+v" keeps them in registers. */
#define DOT(i, v) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc##i##v) : "v"(b##v), "v"(a));
#define ROW(i) a = _mm512_set1_epi32(query[i]); EACH_VECTOR(DOT, i)

#define BOUND(dot, v) _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), column_scale##v), row_scale, column_base##v)
#define WHOLE(i, v) BOUND(acc##i##v, v)
#define PARTIAL(i, v) _mm512_fmadd_ps(_mm512_set1_ps(t->rows->rest[stage][i]), column_rest##v, \
    BOUND(_mm512_add_epi32(acc##i##v, _mm512_set1_epi32(t->rows->ahead[stage][i])), v))

/* One comparison a row: the best upper bound of its columns against the least that any of them needs. */
#define LOOK(i, UPPER) { \
    const __m512 row_scale = _mm512_set1_ps(t->rows->scale[i]); \
    const __m512 most = _mm512_max_ps(_mm512_max_ps(UPPER(i, 0), UPPER(i, 1)), UPPER(i, 2)); \
    any = _kor_mask16(any, _mm512_cmp_ps_mask(most, _mm512_set1_ps(t->row_need[R][i]), _CMP_GE_OQ)); }
#define LOOK_PARTIAL(i) LOOK(i, PARTIAL)
#define LOOK_WHOLE(i) LOOK(i, WHOLE)
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* Keeps the loads of a look behind the loop: hoisted, they would be spilled. */
#define BARRIER __asm__ volatile("" ::: "memory");
#define LOAD_COLUMNS(i, v) \
    const __m512 column_scale##v = _mm512_loadu_ps(t->column_scale + 16 * v), \
                 column_base##v = _mm512_loadu_ps(t->column_base[R] + 16 * v);
#define LOAD_RESTS(i, v) const __m512 column_rest##v = _mm512_loadu_ps(t->column_rest[stage] + 16 * v);
/* A look by the score of one ranking. */
#define LOOK_BY(RANKING, LOADS, EACH_LOOK) { enum { R = RANKING }; EACH_VECTOR(LOAD_COLUMNS, 0) LOADS EACH_ROW(EACH_LOOK) }
#define LOADS_PARTIAL EACH_VECTOR(LOAD_RESTS, 0)
/* Registers of their own, or the compiler spills some of them in the loop for the sake of the look. */
#define PIN(i, v) register __m512i acc##i##v __asm__(PLACE_##i##v);
#define START(i, v) acc##i##v = _mm512_set1_epi32(t->rows->start[i]);
#define PLACE_00 "zmm8"
#define PLACE_01 "zmm9"
#define PLACE_02 "zmm10"
#define PLACE_10 "zmm11"
#define PLACE_11 "zmm12"
#define PLACE_12 "zmm13"
#define PLACE_20 "zmm14"
#define PLACE_21 "zmm15"
#define PLACE_22 "zmm16"
#define PLACE_30 "zmm17"
#define PLACE_31 "zmm18"
#define PLACE_32 "zmm19"
#define PLACE_40 "zmm20"
#define PLACE_41 "zmm21"
#define PLACE_42 "zmm22"
#define PLACE_50 "zmm23"
#define PLACE_51 "zmm24"
#define PLACE_52 "zmm25"
#define PLACE_60 "zmm26"
#define PLACE_61 "zmm27"
#define PLACE_62 "zmm28"
#define PLACE_70 "zmm29"
#define PLACE_71 "zmm30"
#define PLACE_72 "zmm31"
#define STORE(i, v) _mm512_storeu_si512(t->dot[i] + 16 * v, acc##i##v);

/* Out of the way of the loop's registers. */
TARGET static __attribute__((noinline)) int look_closer(tile *t) { /* find_hits with a mask for each comparison */
    uint64_t any = 0;
    for (int i = 0; i < HEIGHT; i++) {
        uint64_t hits = 0;
        for (int r = 0; r < t->rankings; r++) {
            const __m512 scale = _mm512_set1_ps(t->rows->scale[i]), base = _mm512_set1_ps(t->rows->base[r][i]),
                         floor = _mm512_set1_ps(t->row_floor[r][i]);
            for (int v = 0; v < VECTORS; v++) {
                const __m512 dot = _mm512_cvtepi32_ps(_mm512_loadu_si512(t->dot[i] + 16 * v)),
                             product = _mm512_mul_ps(_mm512_mul_ps(dot, _mm512_loadu_ps(t->column_scale + 16 * v)), scale),
                             upper = _mm512_add_ps(product, _mm512_add_ps(_mm512_loadu_ps(t->column_base[r] + 16 * v), base)),
                             least = _mm512_min_ps(_mm512_loadu_ps(t->column_floor[r] + 16 * v), floor);
                _mm512_storeu_ps(t->upper[r][i] + 16 * v, upper);
                hits |= (uint64_t)_mm512_cmp_ps_mask(upper, least, _CMP_GE_OQ) << 16 * v;
            }
        }
        t->hits[i] = hits;
        any |= hits;
    }
    return any != 0;
}

TARGET static int multiply(tile *t) {
    const uint8_t *gallery = t->b;
    const int32_t *query = (const int32_t *)t->a;
    EACH(PIN)
    EACH(START)
    int32_t k = 0;
    for (int32_t stage = 0;; stage++) {
#pragma GCC unroll 4
        for (; k < t->stage_end[stage]; k++, gallery += 4 * WIDTH, query += HEIGHT) {
            const __m512i b0 = _mm512_loadu_si512(gallery), b1 = _mm512_loadu_si512(gallery + 64),
                          b2 = _mm512_loadu_si512(gallery + 128);
            __m512i a;
            EACH_ROW(ROW)
        }
        BARRIER
        __mmask16 any = 0;
        if (stage == t->stages) {
            LOOK_BY(0, , LOOK_WHOLE)
            if (!any && t->rankings > 1) LOOK_BY(1, , LOOK_WHOLE)
            if (!any) return 0;
            break;
        }
        LOOK_BY(0, LOADS_PARTIAL, LOOK_PARTIAL)
        if (!any && t->rankings > 1) LOOK_BY(1, LOADS_PARTIAL, LOOK_PARTIAL)
        if (!any) return 0;
        BARRIER
    }
    EACH(STORE)
    return look_closer(t);
}

TARGET static void quantise(const float *x, int64_t row, packed *out, int8_t *values, int32_t stages, const int32_t *ends) {
    quantise_row(x, row, out, values, stages, ends);
}

TARGET static inline __m512d eight(const char *from, int32_t type, int64_t k) {
    if (type == FLOAT16) return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + 2 * k))));
    return _mm512_cvtps_pd(_mm256_loadu_ps((const float *)(from + 4 * k)));
}

TARGET static double cosine(const char *a, int32_t a_type, const char *b, int32_t b_type, int64_t dims) {
    __m512d sum[4] = {_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd()};
    int64_t k = 0;
    for (; k + LANES <= dims; k += LANES)
        for (int v = 0; v < 4; v++)
            sum[v] = _mm512_fmadd_pd(eight(a, a_type, k + 8 * v), eight(b, b_type, k + 8 * v), sum[v]);
    if (k < dims) {
        char rest[2][4 * LANES] = {{0}};
        const int64_t a_size = a_type == FLOAT16 ? 2 : 4, b_size = b_type == FLOAT16 ? 2 : 4;
        memcpy(rest[0], a + a_size * k, (size_t)(a_size * (dims - k)));
        memcpy(rest[1], b + b_size * k, (size_t)(b_size * (dims - k)));
        for (int v = 0; v < 4; v++)
            sum[v] = _mm512_fmadd_pd(eight(rest[0], a_type, 8 * v), eight(rest[1], b_type, 8 * v), sum[v]);
    }
    /* The order of tree_sum: in each step, lane i takes lane i + half. */
    const __m512d eight_lanes = _mm512_add_pd(_mm512_add_pd(sum[0], sum[2]), _mm512_add_pd(sum[1], sum[3]));
    const __m256d four_lanes = _mm256_add_pd(_mm512_castpd512_pd256(eight_lanes), _mm512_extractf64x4_pd(eight_lanes, 1));
    const __m128d two_lanes = _mm_add_pd(_mm256_castpd256_pd128(four_lanes), _mm256_extractf128_pd(four_lanes, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two_lanes, _mm_unpackhi_pd(two_lanes, two_lanes)));
}

#define DENSE_HEIGHT 8
#define DENSE_BYTES 64
#define FLOATS_FMA(a, b, c) (floats)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define DOUBLES_FMA(a, b, c) (doubles)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define FLOATS_OF(x) (floats)_mm512_set1_ps(x)
#define DOUBLES_OF(x) (doubles)_mm512_set1_pd(x)
#include "dense.h"

const kernel kernel_avx512vnni = {"avx512vnni", HEIGHT, WIDTH, 128, 127, available, multiply, quantise, cosine, &DENSE};
#endif
