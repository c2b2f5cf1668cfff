/* Dense products in floating point, compiled by each kernel for its processor: rows in another basis, and second moments.
 *
 * Before inclusion a kernel defines TARGET, HEIGHT of its dense tile as DENSE_HEIGHT (4 or 8), the bytes of a vector as
 * DENSE_BYTES, and FLOATS_FMA(a, b, c), DOUBLES_FMA(a, b, c), FLOATS_OF(x) and DOUBLES_OF(x), the last two of equal
 * elements. A tile is DENSE_HEIGHT rows x 3 vectors, in registers.
 */
typedef float floats __attribute__((vector_size(DENSE_BYTES)));
typedef double doubles __attribute__((vector_size(DENSE_BYTES)));
enum { DENSE_FLOATS = DENSE_BYTES / 4, DENSE_DOUBLES = DENSE_BYTES / 8 };
enum { FLOAT_COLUMNS = 3 * DENSE_FLOATS, DOUBLE_COLUMNS = 3 * DENSE_DOUBLES };

#if DENSE_HEIGHT == 8
#define DENSE_ROWS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#else
#define DENSE_ROWS(DO) DO(0) DO(1) DO(2) DO(3)
#endif
#define DENSE_LOAD(v, from) memcpy(&v, from, DENSE_BYTES)
#define DENSE_STORE(to, v) memcpy(to, &v, DENSE_BYTES)

/* out[row][column] = sum over k of x[row][k] * basis[k][column], of one strip of columns. */
TARGET static void rotate_tile(const float *x, int64_t x_stride, const float *basis, int64_t dims, float *out,
                               int64_t out_stride) {
#define BEGIN(i) floats sum##i##0 = {0}, sum##i##1 = {0}, sum##i##2 = {0};
#define ADD(i) a = FLOATS_OF(x[i * x_stride + k]); \
    sum##i##0 = FLOATS_FMA(a, b0, sum##i##0), sum##i##1 = FLOATS_FMA(a, b1, sum##i##1), sum##i##2 = FLOATS_FMA(a, b2, sum##i##2);
#define END(i) DENSE_STORE(out + i * out_stride, sum##i##0), DENSE_STORE(out + i * out_stride + DENSE_FLOATS, sum##i##1), \
    DENSE_STORE(out + i * out_stride + 2 * DENSE_FLOATS, sum##i##2);
    DENSE_ROWS(BEGIN)
    for (int64_t k = 0; k < dims; k++, basis += FLOAT_COLUMNS) {
        floats a, b0, b1, b2;
        DENSE_LOAD(b0, basis), DENSE_LOAD(b1, basis + DENSE_FLOATS), DENSE_LOAD(b2, basis + 2 * DENSE_FLOATS);
        DENSE_ROWS(ADD)
    }
    DENSE_ROWS(END)
#undef BEGIN
#undef ADD
#undef END
}

/* `rows` rows, a multiple of DENSE_HEIGHT, in a basis that lies in strips of FLOAT_COLUMNS columns: [strip][k][column]. */
TARGET static void rotate(const float *x, int64_t x_stride, int64_t rows, const float *basis, int64_t dims, int64_t strips,
                          float *out, int64_t out_stride) {
    for (int64_t s = 0; s < strips; s++)
        for (int64_t r = 0; r < rows; r += DENSE_HEIGHT)
            rotate_tile(x + r * x_stride, x_stride, basis + s * dims * FLOAT_COLUMNS, dims,
                        out + r * out_stride + s * FLOAT_COLUMNS, out_stride);
}

/* to[i][column] += sum over rows of x[row][i] * x[row][column]. Each product of two floats is exact in double. */
TARGET static void moments_tile(const double *const *x, const double *y, int64_t rows, double *to, int64_t stride) {
#define BEGIN(i) const double *x##i = x[i]; doubles sum##i##0, sum##i##1, sum##i##2; \
    DENSE_LOAD(sum##i##0, to + i * stride), DENSE_LOAD(sum##i##1, to + i * stride + DENSE_DOUBLES), \
    DENSE_LOAD(sum##i##2, to + i * stride + 2 * DENSE_DOUBLES);
#define ADD(i) a = DOUBLES_OF(x##i[k * DOUBLE_COLUMNS]); \
    sum##i##0 = DOUBLES_FMA(a, b0, sum##i##0), sum##i##1 = DOUBLES_FMA(a, b1, sum##i##1), sum##i##2 = DOUBLES_FMA(a, b2, sum##i##2);
#define END(i) DENSE_STORE(to + i * stride, sum##i##0), DENSE_STORE(to + i * stride + DENSE_DOUBLES, sum##i##1), \
    DENSE_STORE(to + i * stride + 2 * DENSE_DOUBLES, sum##i##2);
#define FETCH(i) __builtin_prefetch(to + (DENSE_HEIGHT + i) * stride, 1), \
    __builtin_prefetch(to + (DENSE_HEIGHT + i) * stride + DENSE_DOUBLES, 1), \
    __builtin_prefetch(to + (DENSE_HEIGHT + i) * stride + 2 * DENSE_DOUBLES, 1);
    DENSE_ROWS(BEGIN)
    DENSE_ROWS(FETCH) /* the sums of the next tile, which are too many for the cache */
    for (int64_t k = 0; k < rows; k++, y += DOUBLE_COLUMNS) {
        doubles a, b0, b1, b2;
        DENSE_LOAD(b0, y), DENSE_LOAD(b1, y + DENSE_DOUBLES), DENSE_LOAD(b2, y + 2 * DENSE_DOUBLES);
        DENSE_ROWS(ADD)
    }
    DENSE_ROWS(END)
#undef BEGIN
#undef FETCH
#undef ADD
#undef END
}

/* Adds rows to the sums of products of their columns, a (padded, padded) matrix of which only columns from the row's own
 * strip on are right. `x` holds the rows as [strip][row][DOUBLE_COLUMNS], in `strips` strips of `capacity` rows; padded is
 * strips * DOUBLE_COLUMNS rounded up to whole tiles, and `x` is zero beyond the columns that there are. */
TARGET static void add_moments(const double *x, int64_t rows, int64_t capacity, int64_t strips, double *to, int64_t padded) {
    for (int64_t s = 0; s < strips; s++)
        for (int64_t i = 0; i < (s + 1) * DOUBLE_COLUMNS; i += DENSE_HEIGHT) {
            const double *of[DENSE_HEIGHT];
            for (int64_t r = 0; r < DENSE_HEIGHT; r++) {
                /* A tile may reach into the next strip, or beyond the last, where it computes what nobody reads. */
                const int64_t column = i + r < strips * DOUBLE_COLUMNS ? i + r : 0;
                of[r] = x + column / DOUBLE_COLUMNS * capacity * DOUBLE_COLUMNS + column % DOUBLE_COLUMNS;
            }
            moments_tile(of, x + s * capacity * DOUBLE_COLUMNS, rows, to + i * padded + s * DOUBLE_COLUMNS, padded);
        }
}

static const dense DENSE = {FLOAT_COLUMNS, DOUBLE_COLUMNS, rotate, add_moments};
