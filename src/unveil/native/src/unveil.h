/* The exact comparison kernel: what its files share. No Python, no libc beyond malloc, math and memory.
 *
 * A pair's score is its cosine (exact.c) plus the offsets of its query and of its gallery row. One pass ranks pairs by
 * one or two such scores, which differ in their offsets. Rows are quantised to int8 with a proven bound on what that can
 * hide; tiles of queries x gallery rows are multiplied in integers, and every pair whose upper bound reaches what is
 * still wanted of it, by either score, is scored exactly. Nothing else can matter.
 */
#ifndef UNVEIL_H
#define UNVEIL_H

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define UNVEIL_VERSION 3
#define UNVEIL_PUBLIC __attribute__((visibility("default")))

enum { LANES = 32 };        /* of the exact sum, as in compare/exact.py */
enum { MAX_WIDTH = 64 };    /* columns of the widest tile: its hits fit one word a row */
enum { MAX_HEIGHT = 8 };    /* rows of the tallest tile */
enum { MAX_RANKINGS = 2 };  /* scores by which one pass ranks pairs */
enum { MAX_STAGES = 4 };    /* looks at partial sums before the last dimension */
enum { FLOAT32 = 0, FLOAT16 = 1 };

/* Stored unit vectors; consecutive rows lie `stride` bytes apart, the elements of one row side by side. */
typedef struct {
    const char *data;
    int64_t n, dims, stride;
    int32_t type;
} vectors;

/* Quantised rows, packed in strips of `width` rows: [strip][step][width][4] bytes; a step is four dimensions.
 * Padding rows are zero. All error terms are rounded up. */
typedef struct {
    uint8_t *bytes;         /* value + bias */
    float *scale;           /* x ~ scale * value */
    float *error;           /* Euclidean norm of the residual */
    float *norm;            /* the larger of the norms of the row and of its quantised form */
    float *rest;            /* [stage][row] norm of the quantised row beyond stage_end[stage] */
    int32_t *sum;           /* [stage + 1][row] of the values: of all, then beyond each stage_end */
    int64_t padded;         /* n rounded up to whole strips */
    int32_t width, steps, bias, levels;
} packed;

/* One tile: `height` queries against `width` gallery rows. A pair's upper bound by ranking r is
 * dot * scale * column_scale + base[r] + column_base[r]; a hit reaches min(row_floor[r], column_floor[r]) by some r. */
typedef struct {
    int32_t start[MAX_HEIGHT];              /* cancels the bias of b over all steps */
    int32_t ahead[MAX_STAGES][MAX_HEIGHT];  /* gives back what was cancelled for the steps beyond a stage */
    float scale[MAX_HEIGHT], base[MAX_RANKINGS][MAX_HEIGHT];
    float rest[MAX_STAGES][MAX_HEIGHT];
} group; /* what is fixed of the queries of a tile */

typedef struct {
    const uint8_t *a, *b;
    const group *rows;
    int32_t rankings;
    float row_floor[MAX_RANKINGS][MAX_HEIGHT];
    /* min(row_floor, column_least) - base: below it a row needs no closer look */
    float row_need[MAX_RANKINGS][MAX_HEIGHT];
    float column_scale[MAX_WIDTH], column_base[MAX_RANKINGS][MAX_WIDTH], column_floor[MAX_RANKINGS][MAX_WIDTH];
    float column_least[MAX_RANKINGS];   /* of column_floor */
    int least_changed;                  /* whether a column that had the least floor has a higher one now */
    float column_rest[MAX_STAGES][MAX_WIDTH];
    int32_t stage_end[MAX_STAGES + 1];  /* in steps; the last is the end */
    int32_t stages;                     /* looks before the end */
    int32_t dot[MAX_HEIGHT][MAX_WIDTH]; /* filled when the last look was not enough */
    float upper[MAX_RANKINGS][MAX_HEIGHT][MAX_WIDTH];
    uint64_t hits[MAX_HEIGHT];
} tile;

/* Products in floating point (dense.h): columns of their tiles, rows in a basis, sums of products of columns. */
typedef struct {
    int64_t float_columns, double_columns;
    void (*rotate)(const float *x, int64_t x_stride, int64_t rows, const float *basis, int64_t dims, int64_t strips,
                   float *out, int64_t out_stride);
    void (*add_moments)(const double *x, int64_t rows, int64_t capacity, int64_t strips, double *to, int64_t padded);
} dense;

typedef struct {
    const char *name;
    int32_t height, width, bias, levels;            /* levels: the largest quantised value of a gallery row */
    int (*available)(void);
    int (*multiply)(tile *);                        /* fills hits and upper; 0 when there are no hits */
    void (*quantise)(const float *x, int64_t row, packed *out, int8_t *values, int32_t stages, const int32_t *stage_end);
    double (*cosine)(const char *a, int32_t a_type, const char *b, int32_t b_type, int64_t dims);
    const dense *dense;
} kernel;

extern const kernel kernel_scalar;
#if defined(__x86_64__)
extern const kernel kernel_avx512vnni, kernel_avxvnni, kernel_avx2;
#endif
/* Clang before 16 offers the dot product only where the whole build is for processors that have it. */
#if defined(__aarch64__) && (!defined(__clang__) || defined(__ARM_FEATURE_DOTPROD) || __clang_major__ >= 16)
#define UNVEIL_NEON
extern const kernel kernel_neon;
#endif

extern const kernel *const KERNELS[]; /* fastest first */

typedef struct {
    int64_t query, row;
    double score;
} pair;

typedef struct pairs {
    struct pairs *next;
    int64_t n;
    pair pair[8192];
} pairs;

enum { DONE = 0, TOO_MANY_PAIRS = 1, NO_MEMORY = 2 };

/* A score, and the pairs that are best by it. */
typedef struct {
    const double *query_offset, *gallery_offset;
    float slack;                        /* for the float arithmetic of the bound */
    float wanted;                       /* a score from which any pair matters; infinite when there is none */

    int64_t top_k;                      /* kept for each query: heaps (n, top_k), worst first, -inf where free */
    double *top_score;
    int64_t *top_row;
    _Atomic float *top_floor;           /* (n) the worst kept score, rounded down */
    _Atomic uint8_t *top_lock;

    double *best_score;                 /* kept for each gallery row; null when not wanted */
    int64_t *best_query;

    int64_t n_overall;                  /* kept overall: one heap */
    double *overall_score;
    int64_t *overall_query, *overall_row;
    _Atomic float overall_floor;
    _Atomic uint8_t lock;               /* of the heap of all */
} ranking;

/* One panel of queries against one slab of the gallery; worked on by any number of threads at once. */
typedef struct {
    int32_t kernel;
    vectors query, gallery;             /* of the panel and the slab */
    packed a, b;
    int64_t first_query, first_row;     /* where panel and slab start in the whole */
    int32_t stages;
    int32_t stage_end[MAX_STAGES];
    int32_t n_rankings;
    ranking rankings[MAX_RANKINGS];

    /* By the first ranking alone. */
    int32_t collect;                    /* all pairs that score at least `threshold` */
    double threshold;
    int64_t max_pairs;
    pairs *found;

    int64_t n_levels;                   /* pairs counted by the number of levels that they reach */
    const double *levels;               /* ascending */
    int64_t *counts;                    /* (n_levels + 1) */

    _Atomic uint8_t lock;               /* of what threads share */
    _Atomic int32_t stop, status;
    _Atomic int64_t next_strip, strips_done, n_found, n_scored;
} job;

float below(double value);
float above(double value);
/* fminf minds NaN, of which there are none here, and is a call. */
static inline float lesser(float a, float b) { return a < b ? a : b; }
static inline float up(double value) { return above(value * (1 + 1e-9)); }

/* The row of `x`, zero beyond its dimensions, that `values` and out[row] describe; each kernel compiles it for itself. */
static inline __attribute__((always_inline)) void quantise_row(const float *x, int64_t row, packed *out, int8_t *values,
                                                               int32_t stages, const int32_t *stage_end) {
    const int64_t dims = (int64_t)out->steps * 4; /* a multiple of 16 */
    int32_t most = 0;                             /* floats without their sign are ordered as integers */
    for (int64_t k = 0; k < dims; k++) {
        int32_t bits;
        memcpy(&bits, x + k, 4);
        bits &= INT32_MAX;
        most = bits > most ? bits : most;
    }
    float largest;
    memcpy(&largest, &most, 4);
    const float levels = (float)out->levels, scale = largest / levels, inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t k = 0; k < dims; k++) {
        float v = rintf(x[k] * inverse);
        v = v > levels ? levels : v;
        v = v < -levels ? -levels : v;
        values[k] = (int8_t)(int32_t)v;
    }
    double lost[16] = {0}, whole[16] = {0};
    for (int64_t k = 0; k < dims; k += 16)
        for (int e = 0; e < 16; e++) {
            const double left = (double)x[k + e] - (double)scale * values[k + e];
            lost[e] += left * left;
            whole[e] += (double)x[k + e] * x[k + e];
        }
    for (int e = 1; e < 16; e++) lost[0] += lost[e], whole[0] += whole[e];
    int32_t squares = 0, sum = 0;
    for (int32_t s = stages; s >= 0; s--) {
        const int64_t from = s ? (int64_t)stage_end[s - 1] * 4 : 0, to = s < stages ? (int64_t)stage_end[s] * 4 : dims;
        for (int64_t k = from; k < to; k++) squares += values[k] * values[k], sum += values[k];
        out->sum[s * out->padded + row] = sum;
        if (s) out->rest[(s - 1) * out->padded + row] = up(scale * sqrt((double)squares));
    }
    out->scale[row] = scale;
    out->error[row] = up(sqrt(lost[0]));
    out->norm[row] = up(fmax(sqrt(whole[0]), scale * sqrt((double)squares)));
}

/* The closer look at a tile: from dot to upper and hits. */
static inline __attribute__((always_inline)) int find_hits(tile *t, int height, int width) {
    uint64_t any = 0;
    for (int i = 0; i < height; i++) {
        uint64_t hits = 0;
        for (int r = 0; r < t->rankings; r++) {
            const float scale = t->rows->scale[i], base = t->rows->base[r][i], floor = t->row_floor[r][i];
            float over[MAX_WIDTH];
            for (int c = 0; c < width; c++) {
                const float least = lesser(t->column_floor[r][c], floor);
                t->upper[r][i][c] = (float)t->dot[i][c] * t->column_scale[c] * scale + (t->column_base[r][c] + base);
                over[c] = t->upper[r][i][c] - least;
            }
            for (int c = 0; c < width; c++) hits |= (uint64_t)(over[c] >= 0) << c;
        }
        t->hits[i] = hits;
        any |= hits;
    }
    return any != 0;
}

double tree_sum(double *lanes);
float half_to_float(uint16_t half);
void load_row(const vectors *in, int64_t row, float *x);
void *zeros(int64_t size);

#endif
