/* 256-bit kernels: AVX-VNNI where there is the instruction, else AVX2 with a gallery of seven bits, whose pairs of
 * products fit 16 bits. */
#if defined(__x86_64__)
#include "unveil.h"

#include <cpuid.h>
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,f16c,fma")))
enum { HEIGHT = 4 };

static int avx2_available(void) {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) &&
           (ecx & bit_F16C);
}

#ifdef UNVEIL_EVEX /* a test build: the same kernel on a machine with the AVX-512 form of the instruction only */
#define VPDPBUSD "vpdpbusd"
static int avxvnni_available(void) {
    return avx2_available() && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl");
}
#else
#define VPDPBUSD "%{vex%} vpdpbusd"
static int avxvnni_available(void) {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return avx2_available() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}
#endif

#define LOAD_COLUMNS(v) \
    const __m256 scale##v = _mm256_loadu_ps(t->column_scale + 8 * v), base##v = _mm256_loadu_ps(t->column_base[R] + 8 * v);
#define BOUND(i, v, dot) _mm256_fmadd_ps( \
    _mm256_mul_ps(_mm256_cvtepi32_ps(dot), scale##v), _mm256_set1_ps(t->rows->scale[i]), base##v)
#define WHOLE(i, v) BOUND(i, v, acc##i##v)
#define PARTIAL(i, v) _mm256_fmadd_ps(_mm256_set1_ps(t->rows->rest[stage][i]), _mm256_loadu_ps(t->column_rest[stage] + 8 * v), \
    BOUND(i, v, _mm256_add_epi32(acc##i##v, _mm256_set1_epi32(t->rows->ahead[stage][i]))))
#define REACHED(i, upper) (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(upper, _mm256_set1_ps(t->row_need[R][i]), _CMP_GE_OQ))
#define LOOK_WHOLE(i, v) any |= REACHED(i, WHOLE(i, v));
#define LOOK_PARTIAL(i, v) any |= REACHED(i, PARTIAL(i, v));
#define STORE(i, v) _mm256_storeu_si256((__m256i *)(t->dot[i] + 8 * v), acc##i##v);
#define DECLARE(i, v) __m256i acc##i##v = _mm256_set1_epi32(t->rows->start[i]);
#define LOAD_GALLERY(v) const __m256i b##v = _mm256_loadu_si256((const __m256i *)(gallery + 32 * v));
#define ROW(i) a = _mm256_set1_epi32(query[i]); EACH_VECTOR(DOT, i)
#define EACH(DO) EACH_VECTOR(DO, 0) EACH_VECTOR(DO, 1) EACH_VECTOR(DO, 2) EACH_VECTOR(DO, 3)

/* A look by the score of one ranking. */
#define LOOK_BY(RANKING, LOOK) { enum { R = RANKING }; EACH_COLUMN(LOAD_COLUMNS) EACH(LOOK) }

/* The body of both kernels: they differ in DOT, in the vectors of a tile and in what stays in registers. */
#define MULTIPLY(VECTORS) \
    const uint8_t *gallery = t->b; \
    const int32_t *query = (const int32_t *)t->a; \
    EACH(DECLARE) \
    int32_t k = 0; \
    for (int32_t stage = 0;; stage++) { \
        for (; k < t->stage_end[stage]; k++, gallery += 32 * VECTORS, query += HEIGHT) { \
            __m256i a; \
            EACH_COLUMN(LOAD_GALLERY) \
            ROW(0) ROW(1) ROW(2) ROW(3) \
        } \
        unsigned any = 0; \
        if (stage == t->stages) { \
            LOOK_BY(0, LOOK_WHOLE) \
            if (!any && t->rankings > 1) LOOK_BY(1, LOOK_WHOLE) \
            if (!any) return 0; \
            break; \
        } \
        LOOK_BY(0, LOOK_PARTIAL) \
        if (!any && t->rankings > 1) LOOK_BY(1, LOOK_PARTIAL) \
        if (!any) return 0; \
    } \
    EACH(STORE) \
    return find_hits(t, HEIGHT, 8 * VECTORS);

#define EACH_VECTOR(DO, i) DO(i, 0) DO(i, 1) DO(i, 2)
#define EACH_COLUMN(DO) DO(0) DO(1) DO(2)
#define DOT(i, v) __asm__(VPDPBUSD " %2, %1, %0" : "+x"(acc##i##v) : "x"(b##v), "x"(a));
TARGET static int multiply_vnni(tile *t) { MULTIPLY(3) }
#undef EACH_VECTOR
#undef EACH_COLUMN
#undef DOT

#define EACH_VECTOR(DO, i) DO(i, 0) DO(i, 1)
#define EACH_COLUMN(DO) DO(0) DO(1)
#define DOT(i, v) acc##i##v = _mm256_add_epi32( \
    acc##i##v, _mm256_madd_epi16(_mm256_maddubs_epi16(b##v, a), _mm256_set1_epi16(1)));
TARGET static int multiply_avx2(tile *t) { MULTIPLY(2) }

TARGET static void quantise(const float *x, int64_t row, packed *out, int8_t *values, int32_t stages, const int32_t *ends) {
    quantise_row(x, row, out, values, stages, ends);
}

TARGET static inline __m256d four(const char *from, int32_t type, int64_t k) {
    if (type == FLOAT16) {
        int64_t halves;
        memcpy(&halves, from + 2 * k, 8);
        return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_cvtsi64_si128(halves)));
    }
    return _mm256_cvtps_pd(_mm_loadu_ps((const float *)(from + 4 * k)));
}

TARGET static double cosine(const char *a, int32_t a_type, const char *b, int32_t b_type, int64_t dims) {
    double lanes[LANES];
    __m256d sum[8];
    for (int v = 0; v < 8; v++) sum[v] = _mm256_setzero_pd();
    int64_t k = 0;
    for (; k + LANES <= dims; k += LANES)
        for (int v = 0; v < 8; v++)
            sum[v] = _mm256_fmadd_pd(four(a, a_type, k + 4 * v), four(b, b_type, k + 4 * v), sum[v]);
    if (k < dims) {
        char rest[2][4 * LANES] = {{0}};
        const int64_t a_size = a_type == FLOAT16 ? 2 : 4, b_size = b_type == FLOAT16 ? 2 : 4;
        memcpy(rest[0], a + a_size * k, (size_t)(a_size * (dims - k)));
        memcpy(rest[1], b + b_size * k, (size_t)(b_size * (dims - k)));
        for (int v = 0; v < 8; v++)
            sum[v] = _mm256_fmadd_pd(four(rest[0], a_type, 4 * v), four(rest[1], b_type, 4 * v), sum[v]);
    }
    for (int v = 0; v < 8; v++) _mm256_storeu_pd(lanes + 4 * v, sum[v]);
    return tree_sum(lanes);
}

#define DENSE_HEIGHT 4
#define DENSE_BYTES 32
#define FLOATS_FMA(a, b, c) (floats)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define DOUBLES_FMA(a, b, c) (doubles)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define FLOATS_OF(x) (floats)_mm256_set1_ps(x)
#define DOUBLES_OF(x) (doubles)_mm256_set1_pd(x)
#include "dense.h"

const kernel kernel_avxvnni = {"avxvnni", HEIGHT, 24, 128, 127, avxvnni_available, multiply_vnni, quantise, cosine, &DENSE};
const kernel kernel_avx2 = {"avx2", HEIGHT, 16, 64, 63, avx2_available, multiply_avx2, quantise, cosine, &DENSE};
#endif
