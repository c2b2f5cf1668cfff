/* dlib's landmarks and face crops, and crops as the tensor of a model: the same bits as dlib and NumPy, faster.
 *
 * Every sum below has the order of dlib 20 (shape_predictor.h, point_transforms.h, matrix_la.h, interpolation.h), and no
 * product is fused with a sum, so results are equal to the last bit where dlib was compiled that way too. Python
 * compares both before it relies on it.
 */
#include "faces.h"

#include <float.h>
#include <stdlib.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#endif

int32_t unveil_faces_version(void) { return UNVEIL_FACES_VERSION; }

/* --- small linear algebra */

enum { MAX_N = 3 };
typedef struct {
    double m[2][2], b[2];
} affine;

/* a = u diag(q) v' of an n x n matrix (Golub and Reinsch 1970), in the order of dlib's svd4. */
static void svd(int n, double u[][MAX_N], double q[], double v[][MAX_N]) {
    double eps = DBL_EPSILON, e[MAX_N], c, f, g = 0, h, s, x = 0, y, z;
    const double tol = DBL_MIN / eps;
    int l = 0;
    for (int i = 0; i < n; i++) {
        e[i] = g, s = 0, l = i + 1;
        for (int j = i; j < n; j++) s += u[j][i] * u[j][i];
        if (s < tol) g = 0;
        else {
            f = u[i][i], g = f < 0 ? sqrt(s) : -sqrt(s), h = f * g - s, u[i][i] = f - g;
            for (int j = l; j < n; j++) {
                s = 0;
                for (int k = i; k < n; k++) s += u[k][i] * u[k][j];
                f = s / h;
                for (int k = i; k < n; k++) u[k][j] += f * u[k][i];
            }
        }
        q[i] = g, s = 0;
        for (int j = l; j < n; j++) s += u[i][j] * u[i][j];
        if (s < tol) g = 0;
        else {
            f = u[i][i + 1], g = f < 0 ? sqrt(s) : -sqrt(s), h = f * g - s, u[i][i + 1] = f - g;
            for (int j = l; j < n; j++) e[j] = u[i][j] / h;
            for (int j = l; j < n; j++) {
                s = 0;
                for (int k = l; k < n; k++) s += u[j][k] * u[i][k];
                for (int k = l; k < n; k++) u[j][k] += s * e[k];
            }
        }
        y = fabs(q[i]) + fabs(e[i]);
        if (y > x) x = y;
    }
    for (int i = n - 1; i >= 0; i--) {
        if (g != 0) {
            h = u[i][i + 1] * g;
            for (int j = l; j < n; j++) v[j][i] = u[i][j] / h;
            for (int j = l; j < n; j++) {
                s = 0;
                for (int k = l; k < n; k++) s += u[i][k] * v[k][j];
                for (int k = l; k < n; k++) v[k][j] += s * v[k][i];
            }
        }
        for (int j = l; j < n; j++) v[i][j] = v[j][i] = 0;
        v[i][i] = 1, g = e[i], l = i;
    }
    for (int i = n - 1; i >= 0; i--) {
        l = i + 1, g = q[i];
        for (int j = l; j < n; j++) u[i][j] = 0;
        if (g != 0) {
            h = u[i][i] * g;
            for (int j = l; j < n; j++) {
                s = 0;
                for (int k = l; k < n; k++) s += u[k][i] * u[k][j];
                f = s / h;
                for (int k = i; k < n; k++) u[k][j] += f * u[k][i];
            }
            for (int j = i; j < n; j++) u[j][i] /= g;
        } else
            for (int j = i; j < n; j++) u[j][i] = 0;
        u[i][i] += 1;
    }
    eps *= x;
    for (int k = n - 1; k >= 0; k--)
        for (int iteration = 0;; iteration++) {
            int cancel = 0;
            for (l = k; l > 0; l--) { /* e[0] is zero */
                if (!(fabs(e[l]) > eps)) break;
                if (fabs(q[l - 1]) <= eps) {
                    cancel = 1;
                    break;
                }
            }
            if (cancel) {
                c = 0, s = 1;
                for (int i = l; i <= k; i++) {
                    f = s * e[i], e[i] *= c;
                    if (fabs(f) <= eps) break;
                    g = q[i], h = q[i] = sqrt(f * f + g * g), c = g / h, s = -f / h;
                    for (int j = 0; j < n; j++) {
                        y = u[j][l - 1], z = u[j][i];
                        u[j][l - 1] = y * c + z * s, u[j][i] = -y * s + z * c;
                    }
                }
            }
            z = q[k];
            if (l == k) {
                if (z < 0) {
                    q[k] = -z;
                    for (int j = 0; j < n; j++) v[j][k] = -v[j][k];
                }
                break;
            }
            if (iteration == 300) return;
            x = q[l], y = q[k - 1], g = e[k - 1], h = e[k];
            f = ((y - z) * (y + z) + (g - h) * (g + h)) / (2 * h * y);
            g = sqrt(f * f + 1.0);
            f = ((x - z) * (x + z) + h * (y / (f < 0 ? f - g : f + g) - h)) / x;
            c = s = 1;
            for (int i = l + 1; i <= k; i++) {
                g = e[i], y = q[i], h = s * g, g *= c;
                e[i - 1] = z = sqrt(f * f + h * h);
                c = f / z, s = h / z, f = x * c + g * s, g = -x * s + g * c, h = y * s, y *= c;
                for (int j = 0; j < n; j++) {
                    x = v[j][i - 1], z = v[j][i];
                    v[j][i - 1] = x * c + z * s, v[j][i] = -x * s + z * c;
                }
                q[i - 1] = z = sqrt(f * f + h * h);
                if (z != 0) c = f / z, s = h / z;
                f = c * g + s * y, x = -s * g + c * y;
                for (int j = 0; j < n; j++) {
                    y = u[j][i - 1], z = u[j][i];
                    u[j][i - 1] = y * c + z * s, u[j][i] = -y * s + z * c;
                }
            }
            e[l] = 0, e[k] = f, q[k] = x;
        }
}

/* The affine transform that maps three points onto three others: dlib's find_affine_transform. */
static affine affine_of(const double from[3][2], const double to[3][2]) {
    double u[3][MAX_N], q[3], v[3][MAX_N], inverse[3][3], m[2][3];
    for (int i = 0; i < 3; i++) u[0][i] = from[i][0], u[1][i] = from[i][1], u[2][i] = 1;
    svd(3, u, q, v);
    const double largest = fmax(fmax(q[0], q[1]), q[2]), eps = DBL_EPSILON * 3 * largest;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) v[j][i] *= fabs(q[i]) >= eps && q[i] != 0 ? 1.0 / q[i] : 0.0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) inverse[i][j] = v[i][0] * u[j][0] + v[i][1] * u[j][1] + v[i][2] * u[j][2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            m[i][j] = to[0][i] * inverse[0][j] + to[1][i] * inverse[1][j] + to[2][i] * inverse[2][j];
    return (affine){{{m[0][0], m[0][1]}, {m[1][0], m[1][1]}}, {m[0][2], m[1][2]}};
}

/* The similarity transform that maps n points onto others with least squared error: dlib's (Umeyama 1991). */
static affine similarity_of(int n, const double (*from)[2], const double (*to)[2]) {
    double from_mean[2] = {0}, to_mean[2] = {0}, variance = 0, cov[2][2] = {{0}}, u[2][MAX_N], q[2], v[2][MAX_N];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) from_mean[k] += from[i][k], to_mean[k] += to[i][k];
    for (int k = 0; k < 2; k++) from_mean[k] /= n, to_mean[k] /= n;
    for (int i = 0; i < n; i++) {
        const double a[2] = {from[i][0] - from_mean[0], from[i][1] - from_mean[1]};
        const double b[2] = {to[i][0] - to_mean[0], to[i][1] - to_mean[1]};
        variance += a[0] * a[0] + a[1] * a[1];
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++) cov[j][k] += b[j] * a[k];
    }
    variance /= n;
    for (int j = 0; j < 2; j++)
        for (int k = 0; k < 2; k++) u[j][k] = cov[j][k] *= 1.0 / n;
    svd(2, u, q, v);
    double s[2] = {1, 1};
    const double det = cov[0][0] * cov[1][1] - cov[0][1] * cov[1][0];
    const double det_u = u[0][0] * u[1][1] - u[0][1] * u[1][0], det_v = v[0][0] * v[1][1] - v[0][1] * v[1][0];
    if (det < 0 || (det == 0 && det_u * det_v < 0)) s[q[1] < q[0]] = -1;
    double r[2][2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) r[i][j] = u[i][0] * s[0] * v[j][0] + u[i][1] * s[1] * v[j][1];
    const double c = variance != 0 ? 1.0 / variance * (q[0] * s[0] + q[1] * s[1]) : 1;
    affine found;
    for (int i = 0; i < 2; i++) {
        found.b[i] = to_mean[i] - (r[i][0] * from_mean[0] + r[i][1] * from_mean[1]) * c;
        for (int j = 0; j < 2; j++) found.m[i][j] = r[i][j] * c;
    }
    return found;
}

INLINE double apply(const affine *t, int i, double x, double y) {
    return t->m[i][0] * x + t->m[i][1] * y + t->b[i];
}

/* --- landmarks by regression trees (Kazemi and Sullivan 2014) */

enum { MAX_PARTS = 128, MAX_FEATURES = 1024, MAX_SPLITS = 255, TOGETHER = 16, AHEAD = 4 };

/* A value for each of the images that are processed together. */
typedef int16_t lanes16 __attribute__((vector_size(2 * TOGETHER)));

/* A node of a tree: the left child is next if feature a - feature b > above. */
typedef struct {
    uint16_t a, b;
    int16_t above;
} split;

struct landmark_model {
    int32_t parts, lanes, cascades, trees, splits, features;
    float *initial;     /* [lanes], of which 2 * parts are used */
    split *nodes;       /* [cascade][tree][splits] */
    float *leaves;      /* [cascade][tree][splits + 1][lanes] */
    uint8_t *anchors;   /* [cascade][features] */
    float *deltas;      /* [cascade][2][features]: x of all, then y of all */
};

/* Bytes of a file in dlib's serialisation. After an error nothing more is read. */
typedef struct {
    const uint8_t *at, *end;
    int failed;
} reader;

static int64_t read_integer(reader *r) {
    if (r->failed || r->at == r->end) return r->failed = 1, 0;
    const uint8_t control = *r->at++;
    const int size = control & 15;
    if (size < 1 || size > 8 || control & 0x70 || r->end - r->at < size) return r->failed = 1, 0;
    uint64_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint64_t)r->at[i] << 8 * i;
    r->at += size;
    if (value > INT64_MAX) return r->failed = 1, 0;
    return control & 0x80 ? -(int64_t)value : (int64_t)value;
}

static float read_float(reader *r) {
    const int64_t mantissa = read_integer(r), exponent = read_integer(r);
    const float value = exponent > -1000 && exponent < 1000 ? ldexpf((float)mantissa, (int)exponent) : NAN;
    if (!isfinite(value)) r->failed = 1;
    return value;
}

static int64_t read_size(reader *r, int64_t lowest, int64_t highest) {
    const int64_t n = read_integer(r);
    if (n < lowest || n > highest) r->failed = 1;
    return r->failed ? 0 : n;
}

static int64_t read_column(reader *r, int64_t lowest, int64_t highest) {
    int64_t rows = read_integer(r), columns = read_integer(r);
    if (rows < 0) rows = -rows, columns = -columns;
    if (columns != 1 || rows < lowest || rows > highest) r->failed = 1;
    return r->failed ? 0 : rows;
}

static void read_tree(reader *r, landmark_model *model, split *nodes, float *leaves) {
    read_size(r, model->splits, model->splits);
    for (int32_t i = 0; i < model->splits && !r->failed; i++) {
        const int32_t a = (int32_t)read_size(r, 0, MAX_FEATURES - 1), b = (int32_t)read_size(r, 0, MAX_FEATURES - 1);
        if (a >= model->features) model->features = a + 1;
        if (b >= model->features) model->features = b + 1;
        /* A difference of bytes is above a number if it is above the integer below it. */
        const float above = fmaxf(-256, fminf(255, floorf(read_float(r))));
        if (!r->failed) nodes[i] = (split){(uint16_t)a, (uint16_t)b, (int16_t)above};
    }
    read_size(r, model->splits + 1, model->splits + 1);
    for (int32_t i = 0; i <= model->splits && !r->failed; i++) {
        read_column(r, 2 * model->parts, 2 * model->parts);
        for (int32_t k = 0; k < 2 * model->parts; k++) leaves[(int64_t)i * model->lanes + k] = read_float(r);
    }
}

static void *rows(reader *r, int64_t n, size_t size, int64_t most) {
    void *found = n > 0 && n <= most ? calloc((size_t)n, size) : NULL;
    if (!found) r->failed = 1;
    return found;
}

static void read_model(reader *r, landmark_model *model) {
    const int64_t bytes = r->end - r->at;
    if (read_integer(r) != 1) r->failed = 1;
    model->parts = (int32_t)(read_column(r, 4, 2 * MAX_PARTS) / 2);
    model->lanes = (2 * model->parts + 3) / 4 * 4;
    if (!(model->initial = rows(r, model->lanes, sizeof(float), bytes))) return;
    for (int32_t k = 0; k < 2 * model->parts; k++) model->initial[k] = read_float(r);
    model->cascades = (int32_t)read_size(r, 1, 100);
    for (int64_t c = 0; c < model->cascades && !r->failed; c++) {
        const int64_t trees = read_size(r, 1, 10000);
        for (int64_t t = 0; t < trees && !r->failed; t++) {
            if (c == 0 && t == 0) {
                reader ahead = *r;
                model->trees = (int32_t)trees, model->splits = (int32_t)read_size(&ahead, 1, MAX_SPLITS);
                if (ahead.failed || (model->splits & (model->splits + 1))) r->failed = 1;
                /* Every stored number takes two bytes or more, so the file bounds what is allocated. */
                const int64_t all = (int64_t)model->cascades * model->trees;
                if (!r->failed) model->nodes = rows(r, all * model->splits, sizeof(split), bytes);
                if (!r->failed) model->leaves = rows(r, all * (model->splits + 1) * model->lanes, sizeof(float), bytes);
            }
            if (trees != model->trees) r->failed = 1;
            const int64_t tree = c * model->trees + t;
            if (!r->failed)
                read_tree(r, model, model->nodes + tree * model->splits,
                          model->leaves + tree * (model->splits + 1) * model->lanes);
        }
    }
    const int32_t needed = model->features;
    read_size(r, model->cascades, model->cascades);
    for (int64_t c = 0; c < model->cascades && !r->failed; c++) {
        const int64_t features = read_size(r, needed, MAX_FEATURES);
        if (c == 0) model->features = (int32_t)features, model->anchors = rows(r, model->cascades * features, 1, bytes);
        if (features != model->features) r->failed = 1;
        for (int64_t i = 0; i < features && !r->failed; i++)
            model->anchors[c * features + i] = (uint8_t)read_size(r, 0, model->parts - 1);
    }
    read_size(r, model->cascades, model->cascades);
    if (!r->failed) model->deltas = rows(r, (int64_t)model->cascades * model->features * 2, sizeof(float), bytes);
    for (int64_t c = 0; c < model->cascades && !r->failed; c++) {
        read_size(r, model->features, model->features);
        for (int64_t i = 0; i < 2 * model->features && !r->failed; i++)
            model->deltas[(2 * c + i % 2) * model->features + i / 2] = read_float(r);
    }
    if (r->at != r->end) r->failed = 1;
}

void unveil_free_landmark_model(landmark_model *model) {
    if (!model) return;
    free(model->initial), free(model->nodes), free(model->leaves), free(model->anchors), free(model->deltas);
    free(model);
}

landmark_model *unveil_read_landmark_model(const uint8_t *file, int64_t n, int32_t *parts) {
    landmark_model *model = calloc(1, sizeof *model);
    reader r = {file, file + n, model == NULL};
    if (model) read_model(&r, model);
    if (r.failed) {
        unveil_free_landmark_model(model);
        return NULL;
    }
    *parts = model->parts;
    return model;
}

/* The pixel values that a cascade compares, the sum of the channels / 3; 0 outside the image. Those of several images lie
 * side by side: [feature][TOGETHER]. */
INLINE void read_features(const landmark_model *model, int64_t cascade, const image *of, const affine *to_image,
                          const float *shape, int16_t *values) {
    double from[MAX_PARTS][2], to[MAX_PARTS][2];
    for (int32_t i = 0; i < model->parts; i++)
        for (int k = 0; k < 2; k++) from[i][k] = model->initial[2 * i + k], to[i][k] = shape[2 * i + k];
    const affine t = similarity_of(model->parts, from, to);
    const float m00 = (float)t.m[0][0], m01 = (float)t.m[0][1], m10 = (float)t.m[1][0], m11 = (float)t.m[1][1];
    const int32_t n = model->features;
    const float *dx = model->deltas + 2 * cascade * n, *dy = dx + n;
    const uint8_t *anchor = model->anchors + cascade * n;
    const double width = (double)of->width, height = (double)of->height, stride = (double)of->stride;
    float x[MAX_FEATURES], y[MAX_FEATURES];
    double at[MAX_FEATURES]; /* the byte of the pixel, exact as a double, or -1 outside the image */
    for (int32_t i = 0; i < n; i++) x[i] = shape[2 * anchor[i]], y[i] = shape[2 * anchor[i] + 1];
    for (int32_t i = 0; i < n; i++) {
        const double px = m00 * dx[i] + m01 * dy[i] + x[i], py = m10 * dx[i] + m11 * dy[i] + y[i];
        const double column = floor(apply(to_image, 0, px, py) + 0.5), row = floor(apply(to_image, 1, px, py) + 0.5);
        const int inside = (column >= 0) & (column < width) & (row >= 0) & (row < height);
        at[i] = inside ? row * stride + 3 * column : -1;
    }
    for (int32_t i = 0; i < n; i++) {
        const uint8_t *pixel = of->pixels + (int64_t)at[i];
        const int value = at[i] < 0 ? 0 : (pixel[0] + pixel[1] + pixel[2]) / 3;
        values[i * TOGETHER] = (int16_t)value;
    }
}

/* All trees of a cascade for one image after another: the leaf that each reaches, in their order. */
static void add_leaves_plain(const landmark_model *model, int64_t cascade, int32_t images, const int16_t *values,
                             float *shapes) {
    const int32_t splits = model->splits, lanes = model->lanes;
    const split *nodes = model->nodes + cascade * model->trees * splits;
    const float *leaves = model->leaves + cascade * model->trees * (splits + 1) * lanes;
    for (int32_t t = 0; t < model->trees; t++, nodes += splits, leaves += (splits + 1) * lanes)
        for (int32_t n = 0; n < images; n++) {
            int32_t i = 0;
            while (i < splits)
                i = 2 * i + 2 - (values[nodes[i].a * TOGETHER + n] - values[nodes[i].b * TOGETHER + n] > nodes[i].above);
            for (int32_t k = 0; k < lanes; k++) shapes[n * lanes + k] += leaves[(i - splits) * lanes + k];
        }
}

/* As above, with every node of a tree for all images at once. `next` is the place that is reached from each node: that of
 * one of its children for an inner node. */
INLINE void add_leaves(const landmark_model *model, int64_t cascade, int32_t images, const int16_t *values,
                       float *shapes) {
    const int32_t splits = model->splits, lanes = model->lanes, inner = splits / 2;
    const split *nodes = model->nodes + cascade * model->trees * splits;
    const float *leaves = model->leaves + cascade * model->trees * (splits + 1) * lanes;
    const lanes16 *value = (const lanes16 *)values;
    lanes16 next[MAX_SPLITS];
    for (int32_t t = 0; t < model->trees; t++, nodes += splits, leaves += (splits + 1) * lanes) {
        for (int32_t i = splits - 1; i >= 0; i--) {
            const lanes16 left = value[nodes[i].a] - value[nodes[i].b] > nodes[i].above;
            /* A comparison that holds gives -1 in its lane. */
            next[i] = i >= inner ? left + (int16_t)(2 * (i - inner) + 1) : (next[2 * i + 1] & left) | (next[2 * i + 2] & ~left);
        }
        /* Images reach leaves in no order, so the processor does not foresee which come next. */
        for (int32_t k = 0; k < (splits + 1) * lanes && t + AHEAD < model->trees; k += 16)
            __builtin_prefetch(leaves + AHEAD * (splits + 1) * lanes + k);
        for (int32_t n = 0; n < images; n++) {
            const float *leaf = leaves + next[0][n] * lanes;
            float *shape = shapes + n * lanes;
            for (int32_t k = 0; k < lanes; k += 4)
                for (int j = 0; j < 4; j++) shape[k + j] += leaf[k + j];
        }
    }
}

INLINE void locate(const landmark_model *model, int32_t images, const image *of, const int32_t (*boxes)[4], int32_t plain,
                   double *points) {
    static const double corners[3][2] = {{0, 0}, {1, 0}, {1, 1}};
    affine to_image[TOGETHER];
    float shapes[TOGETHER * 2 * MAX_PARTS];
    lanes16 values[MAX_FEATURES] = {{0}};
    for (int32_t n = 0; n < images; n++) {
        const double to[3][2] = {{boxes[n][0], boxes[n][1]}, {boxes[n][2], boxes[n][1]}, {boxes[n][2], boxes[n][3]}};
        to_image[n] = affine_of(corners, to);
        memcpy(shapes + n * model->lanes, model->initial, sizeof(float) * (size_t)model->lanes);
    }
    for (int64_t c = 0; c < model->cascades; c++) {
        for (int32_t n = 0; n < images; n++)
            read_features(model, c, of + n, to_image + n, shapes + n * model->lanes, (int16_t *)values + n);
        if (plain) add_leaves_plain(model, c, images, (const int16_t *)values, shapes);
        else add_leaves(model, c, images, (const int16_t *)values, shapes);
    }
    for (int32_t n = 0; n < images; n++)
        for (int32_t i = 0; i < model->parts; i++, points += 2) {
            const float *shape = shapes + n * model->lanes + 2 * i;
            for (int k = 0; k < 2; k++) points[k] = floor(apply(to_image + n, k, shape[0], shape[1]) + 0.5);
        }
}

static void locate_plain(const landmark_model *model, int32_t images, const image *of, const int32_t (*boxes)[4],
                         double *points) {
    locate(model, images, of, boxes, 1, points);
}

static void locate_vector(const landmark_model *model, int32_t images, const image *of, const int32_t (*boxes)[4],
                          double *points) {
    locate(model, images, of, boxes, 0, points);
}

#if defined(__x86_64__)
AVX2 static void locate_avx2(const landmark_model *model, int32_t images, const image *of, const int32_t (*boxes)[4],
                             double *points) {
    locate(model, images, of, boxes, 0, points);
}
#endif

void unveil_landmarks(const landmark_model *model, int64_t n, const image *of, const int32_t (*boxes)[4], int32_t plain,
                      double *points) {
    for (int64_t i = 0; i < n; i += TOGETHER) {
        const int32_t images = n - i < TOGETHER ? (int32_t)(n - i) : TOGETHER;
        double *out = points + i * 2 * model->parts;
        if (plain) locate_plain(model, images, of + i, boxes + i, out);
#if defined(__x86_64__)
        else if (__builtin_cpu_supports("avx2")) locate_avx2(model, images, of + i, boxes + i, out);
#endif
        else locate_vector(model, images, of + i, boxes + i, out);
    }
}

/* --- the crop that dlib's recognition model expects */

typedef struct {
    double left, top, right, bottom;
} rectangle;

static double width_of(const rectangle *r) { return r->right - r->left + 1; }
static double height_of(const rectangle *r) { return r->bottom - r->top + 1; }

/* Whether dlib would take the pixels from a smaller level of an image pyramid. */
static int needs_pyramid(const rectangle *r, double pixels) {
    const rectangle half = {r->left / 2 - 1.25, r->top / 2 - 0.75, r->right / 2 - 1.25, r->bottom / 2 - 0.75};
    return width_of(&half) * height_of(&half) > pixels;
}

/* The corners left top, right top, left bottom and right bottom, rotated about the centre. */
static void rotate(const rectangle *r, double angle, double corners[4][2]) {
    const double s = sin(angle), c = cos(angle), x = (r->left + r->right) / 2, y = (r->top + r->bottom) / 2;
    for (int i = 0; i < 4; i++) {
        const double dx = (i & 1 ? r->right : r->left) - x, dy = (i & 2 ? r->bottom : r->top) - y;
        corners[i][0] = c * dx - s * dy + x, corners[i][1] = s * dx + c * dy + y;
    }
}

/* Writes a crop row by row by bilinear interpolation, black outside: dlib's transform_image. */
INLINE void warp_pixel(const image *from, const affine *t, int32_t r, int32_t c, uint8_t *out) {
    const double x = apply(t, 0, c, r), y = apply(t, 1, c, r), column = floor(x), row = floor(y);
    if (!(column >= 0 && row >= 0 && column + 1 < (double)from->width && row + 1 < (double)from->height)) {
        out[0] = out[1] = out[2] = 0;
        return;
    }
    const uint8_t *top = from->pixels + (int64_t)row * from->stride + 3 * (int64_t)column, *bottom = top + from->stride;
    const double right = x - column, below = y - row;
    for (int k = 0; k < 3; k++)
        out[k] = (uint8_t)(int32_t)(((1 - right) * top[k] + right * top[k + 3]) * (1 - below) +
                                    ((1 - right) * bottom[k] + right * bottom[k + 3]) * below);
}

static void warp_plain(const image *from, const affine *t, int32_t size, uint8_t *out) {
    for (int32_t r = 0; r < size; r++)
        for (int32_t c = 0; c < size; c++, out += 3) warp_pixel(from, t, r, c, out);
}

#if defined(__x86_64__)
/* Two neighbours of one row: bytes R G B R G B as four doubles each, the last of which is ignored. */
#define NEIGHBOURS(at, left, right) \
    const __m128i left##_right = _mm_loadl_epi64((const __m128i *)(at)); \
    const __m256d left = _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(left##_right)); \
    const __m256d right = _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_srli_epi64(left##_right, 24)));

/* The three channels of a pixel in the lanes of a vector. Reads eight bytes for six and writes four for three, so the
 * last pixels of image and crop are left to the plain code. */
AVX2 static void warp_avx2(const image *from, const affine *t, int32_t size, uint8_t *out) {
    enum { BLOCK = 256 };
    double right[BLOCK], below[BLOCK], at[BLOCK]; /* at: the first byte, exact as a double, or -1 for the plain code */
    const __m256d one = _mm256_set1_pd(1);
    const __m128i bytes = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const double width = (double)from->width, height = (double)from->height, stride = (double)from->stride;
    for (int32_t r = 0; r < size; r++)
        for (int32_t first = 0; first < size; first += BLOCK) {
            const int32_t n = size - first < BLOCK ? size - first : BLOCK;
            for (int32_t i = 0; i < n; i++) {
                const double x = apply(t, 0, first + i, r), y = apply(t, 1, first + i, r), column = floor(x), row = floor(y);
                const int within = (column >= 0) & (row >= 0) & (column + 1 < width) & (row + 1 < height);
                right[i] = x - column, below[i] = y - row;
                at[i] = within & ((row + 2 < height) | (column + 2 < width)) ? row * stride + 3 * column : -1;
            }
            if (r == size - 1 && first + n == size) at[n - 1] = -1;
            for (int32_t i = 0; i < n; i++, out += 3) {
                if (at[i] < 0) {
                    warp_pixel(from, t, r, first + i, out);
                    continue;
                }
                const uint8_t *top = from->pixels + (int64_t)at[i];
                const __m256d to_right = _mm256_broadcast_sd(right + i), to_left = _mm256_sub_pd(one, to_right);
                const __m256d downwards = _mm256_broadcast_sd(below + i), upwards = _mm256_sub_pd(one, downwards);
                NEIGHBOURS(top, tl, tr)
                NEIGHBOURS(top + from->stride, bl, br)
                const __m256d upper = _mm256_add_pd(_mm256_mul_pd(tl, to_left), _mm256_mul_pd(tr, to_right));
                const __m256d lower = _mm256_add_pd(_mm256_mul_pd(bl, to_left), _mm256_mul_pd(br, to_right));
                const __m256d value = _mm256_add_pd(_mm256_mul_pd(upper, upwards), _mm256_mul_pd(lower, downwards));
                const int32_t pixel = _mm_cvtsi128_si32(_mm_shuffle_epi8(_mm256_cvttpd_epi32(value), bytes));
                memcpy(out, &pixel, 4);
            }
        }
}
#endif

int32_t unveil_face_chip(const image *of, const double *points, int32_t size, int32_t plain, uint8_t *out) {
    /* Mean positions of the five landmarks in a crop without padding: dlib's get_face_chip_details. */
    static const double mean[5][2] = {{0.8595674595992, 0.2134981538014},
                                      {0.6460604764104, 0.2289674387677},
                                      {0.1205750620789, 0.2137274526848},
                                      {0.3340850613712, 0.2290642403242},
                                      {0.4901123135679, 0.6277975316475}};
    const double padding = 0.25, reciprocal = 1 / (2 * padding + 1), pixels = (double)size * size;
    double from[5][2], to[5][2];
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 2; k++) {
            from[i][k] = (mean[i][k] + padding) * reciprocal * size, to[i][k] = points[2 * i + k];
            if (!(fabs(to[i][k]) < 1e9)) return UNUSUAL;
        }
    const affine t = similarity_of(5, from, to);
    const double angle = atan2(t.m[1][0], t.m[0][0]);
    const double scale = sqrt(t.m[0][0] * t.m[0][0] + t.m[1][0] * t.m[1][0]);
    const double half = (double)size / 2, x = apply(&t, 0, half, half), y = apply(&t, 1, half, half);
    const double side = size * scale - 1;
    rectangle r = {x - side / 2, y - side / 2, x + side / 2, y + side / 2};
    /* Not rotated at all, reduced, or hardly larger than a pixel: rare, and dlib does something else. */
    if (angle == 0 || !(side > 1) || needs_pyramid(&r, pixels)) return UNUSUAL;

    /* dlib cuts out the surroundings of the face first and warps from there. */
    double corners[4][2];
    rotate(&r, angle, corners);
    rectangle bounds = {corners[0][0], corners[0][1], corners[0][0], corners[0][1]};
    for (int i = 1; i < 4; i++) {
        bounds.left = fmin(bounds.left, corners[i][0]), bounds.right = fmax(bounds.right, corners[i][0]);
        bounds.top = fmin(bounds.top, corners[i][1]), bounds.bottom = fmax(bounds.bottom, corners[i][1]);
    }
    const double grow = 2;
    const double left = round(fmax(bounds.left - grow, 0)), right = round(fmin(bounds.right + grow, (double)of->width - 1));
    const double top = round(fmax(bounds.top - grow, 0)), bottom = round(fmin(bounds.bottom + grow, (double)of->height - 1));
    if (!(left <= right && top <= bottom)) return UNUSUAL;
    r.left += -left, r.right += -left, r.top += -top, r.bottom += -top;
    if (needs_pyramid(&r, pixels)) return UNUSUAL;
    const image part = {of->pixels + (int64_t)top * of->stride + 3 * (int64_t)left, (int64_t)(bottom - top) + 1,
                        (int64_t)(right - left) + 1, of->stride};
    rotate(&r, angle, corners);
    const double last = size - 1, of_crop[3][2] = {{0, 0}, {last, 0}, {0, last}};
    const double of_part[3][2] = {{corners[0][0], corners[0][1]}, {corners[1][0], corners[1][1]}, {corners[2][0], corners[2][1]}};
    const affine map = affine_of(of_crop, of_part);
#if defined(__x86_64__)
    if (!plain && __builtin_cpu_supports("avx2")) return warp_avx2(&part, &map, size, out), CUT;
#endif
    (void)plain;
    warp_plain(&part, &map, size, out);
    return CUT;
}

/* --- crops as the input of a model */

INLINE void write_planes(const uint8_t *crop, int64_t pixels, int32_t reversed, const float *mean, const float *scale,
                         float *out) {
    for (int plane = 0; plane < 3; plane++, out += pixels) {
        const uint8_t *from = crop + (reversed ? 2 - plane : plane);
        const float m = mean[plane], s = scale[plane];
        for (int64_t k = 0; k < pixels; k++) out[k] = ((float)from[3 * k] - m) * s;
    }
}

#if defined(__x86_64__)
AVX2 static void planes_avx2(const uint8_t *crop, int64_t pixels, int32_t reversed, const float *mean,
                             const float *scale, float *out) {
    write_planes(crop, pixels, reversed, mean, scale, out);
}
#endif

void unveil_planes(const uint8_t *crops, int64_t n, int64_t pixels, int32_t reversed, const float *mean,
                   const float *scale, float *out) {
    for (int64_t i = 0; i < n; i++, crops += 3 * pixels, out += 3 * pixels) {
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx2")) {
            planes_avx2(crops, pixels, reversed, mean, scale, out);
            continue;
        }
#endif
        write_planes(crops, pixels, reversed, mean, scale, out);
    }
}
