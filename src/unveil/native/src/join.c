/* The decisions: which pairs a tile lets through, their exact scores, and what is kept of them. */
#include "unveil.h"

#include <stdlib.h>

const kernel *const KERNELS[] = {
#if defined(__x86_64__)
    &kernel_avx512vnni, &kernel_avxvnni, &kernel_avx2,
#endif
#if defined(UNVEIL_NEON)
    &kernel_neon,
#endif
    &kernel_scalar,
};
enum { N_KERNELS = sizeof KERNELS / sizeof *KERNELS };

typedef struct {
    int32_t height, width, bias, levels, available;
} kernel_facts;

UNVEIL_PUBLIC int32_t unveil_version(void) { return UNVEIL_VERSION; }
UNVEIL_PUBLIC int64_t unveil_job_size(void) { return (int64_t)sizeof(job); }

/* The name of kernel `index`, fastest first, and its facts; null when there is none. */
UNVEIL_PUBLIC const char *unveil_kernel(int32_t index, kernel_facts *facts) {
    if (index < 0 || index >= N_KERNELS) return 0;
    const kernel *k = KERNELS[index];
    *facts = (kernel_facts){k->height, k->width, k->bias, k->levels, k->available()};
    return k->name;
}

UNVEIL_PUBLIC void unveil_cosines(int32_t kernel_index, const vectors *a, const vectors *b, int64_t n,
                                  const int64_t *a_row, const int64_t *b_row, double *out) {
    const kernel *k = KERNELS[kernel_index];
    for (int64_t m = 0; m < n; m++) {
        if (m + 4 < n) __builtin_prefetch(b->data + b_row[m + 4] * b->stride);
        out[m] = k->cosine(a->data + a_row[m] * a->stride, a->type, b->data + b_row[m] * b->stride, b->type, a->dims);
    }
}

static void take_lock(_Atomic uint8_t *lock) {
    while (atomic_exchange_explicit(lock, 1, memory_order_acquire))
        while (atomic_load_explicit(lock, memory_order_relaxed)) {
        }
}

static void free_lock(_Atomic uint8_t *lock) { atomic_store_explicit(lock, 0, memory_order_release); }

/* Worse: a lower score, then a higher query, then a higher row. */
static int worse(double score, int64_t query, int64_t row, double than, int64_t than_query, int64_t than_row) {
    if (score != than) return score < than;
    if (query != than_query) return query > than_query;
    return row > than_row;
}

/* Puts a pair in the place of the worst of a heap that keeps it first. `query` is null where all are of one query. */
static void replace_worst(double *score, int64_t *query, int64_t *row, int64_t n, pair p) {
    int64_t at = 0;
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= n) break;
        int64_t other = child + 1;
        if (other < n && worse(score[other], query ? query[other] : 0, row[other],
                               score[child], query ? query[child] : 0, row[child]))
            child = other;
        if (!worse(score[child], query ? query[child] : 0, row[child], p.score, query ? p.query : 0, p.row)) break;
        score[at] = score[child], row[at] = row[child];
        if (query) query[at] = query[child];
        at = child;
    }
    score[at] = p.score, row[at] = p.row;
    if (query) query[at] = p.query;
}

static void offer_query(ranking *by, int64_t i, pair p) {
    if (p.score < (double)atomic_load_explicit(by->top_floor + i, memory_order_relaxed)) return;
    double *score = by->top_score + i * by->top_k;
    int64_t *row = by->top_row + i * by->top_k;
    take_lock(by->top_lock + i);
    if (worse(score[0], 0, row[0], p.score, 0, p.row)) {
        replace_worst(score, 0, row, by->top_k, p);
        atomic_store_explicit(by->top_floor + i, below(score[0]), memory_order_relaxed);
    }
    free_lock(by->top_lock + i);
}

static void offer_overall(ranking *by, pair p) {
    if (p.score < (double)atomic_load_explicit(&by->overall_floor, memory_order_relaxed)) return;
    take_lock(&by->lock);
    if (worse(by->overall_score[0], by->overall_query[0], by->overall_row[0], p.score, p.query, p.row)) {
        replace_worst(by->overall_score, by->overall_query, by->overall_row, by->n_overall, p);
        atomic_store_explicit(&by->overall_floor, below(by->overall_score[0]), memory_order_relaxed);
    }
    free_lock(&by->lock);
}

/* What one thread gathers before it shares it. */
typedef struct {
    pairs *found;
    int64_t *counts;
    int64_t n_scored;
} gathered;

static void end(job *j, int32_t status) {
    atomic_store(&j->status, status);
    atomic_store(&j->stop, 1);
}

static void hand_over(job *j, gathered *mine) {
    if (!mine->found) return;
    take_lock(&j->lock);
    mine->found->next = j->found;
    j->found = mine->found;
    free_lock(&j->lock);
    mine->found = 0;
}

static void collect(job *j, gathered *mine, pair p) {
    if (mine->found && mine->found->n == (int64_t)(sizeof mine->found->pair / sizeof p)) hand_over(j, mine);
    if (!mine->found) {
        mine->found = malloc(sizeof *mine->found);
        if (!mine->found) {
            end(j, NO_MEMORY);
            return;
        }
        mine->found->n = 0;
    }
    mine->found->pair[mine->found->n++] = p;
    if (atomic_fetch_add_explicit(&j->n_found, 1, memory_order_relaxed) >= j->max_pairs) end(j, TOO_MANY_PAIRS);
}

static void count(const job *j, gathered *mine, double score) {
    int64_t low = 0, high = j->n_levels;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (j->levels[middle] <= score) low = middle + 1;
        else high = middle;
    }
    mine->counts[low]++;
}

static void score_pair(job *j, const kernel *k, tile *t, int64_t i, int64_t column, int c, gathered *mine) {
    const double cosine = k->cosine(j->query.data + i * j->query.stride, j->query.type,
                                    j->gallery.data + column * j->gallery.stride, j->gallery.type, j->query.dims);
    mine->n_scored++;
    for (int r = 0; r < j->n_rankings; r++) {
        ranking *by = j->rankings + r;
        const pair p = {j->first_query + i, j->first_row + column,
                        cosine + by->query_offset[i] + by->gallery_offset[column]};
        if (by->top_k) offer_query(by, i, p);
        if (by->best_score && worse(by->best_score[column], by->best_query[column], 0, p.score, p.query, 0)) {
            by->best_score[column] = p.score, by->best_query[column] = p.query;
            t->least_changed |= t->column_floor[r][c] <= t->column_least[r];
            t->column_floor[r][c] = below(p.score);
        }
        if (by->n_overall) offer_overall(by, p);
        if (r) continue;
        if (j->collect && p.score >= j->threshold) collect(j, mine, p);
        if (j->n_levels && p.score >= j->levels[0]) count(j, mine, p.score);
    }
}

/* What any pair must score to matter. */
static float floor_of_all(const ranking *by) {
    return by->n_overall ? lesser(by->wanted, atomic_load_explicit(&by->overall_floor, memory_order_relaxed)) : by->wanted;
}

/* What a pair of query `i` must score to be among its best. */
static float floor_of_query(const ranking *by, int64_t i) {
    return by->top_k ? atomic_load_explicit(by->top_floor + i, memory_order_relaxed) : INFINITY;
}

/* What a pair of query `i` must score to matter, whatever its column. */
static float row_floor(const ranking *by, int64_t i) { return lesser(floor_of_all(by), floor_of_query(by, i)); }

/* Hits of one tile, waiting for their vectors to arrive in the cache while the next tile is multiplied. */
typedef struct {
    int n;
    struct {
        int64_t query;
        int column;
        float upper[MAX_RANKINGS];
    } hit[MAX_HEIGHT * MAX_WIDTH];
} waiting;

static void fetch(const vectors *v, int64_t row) {
    const int64_t size = v->dims * (v->type == FLOAT16 ? 2 : 4);
    for (int64_t at = 0; at < size; at += 64) __builtin_prefetch(v->data + row * v->stride + at, 0, 2);
}

static int highest(const float *upper, uint64_t hits) {
    int best = __builtin_ctzll(hits);
    for (; hits; hits &= hits - 1)
        if (upper[__builtin_ctzll(hits)] > upper[best]) best = __builtin_ctzll(hits);
    return best;
}

/* The most promising of each row comes first: its score raises the floors, which may spare the rest. */
static void line_up(const job *j, const kernel *k, const tile *t, int64_t first_query, int64_t first_column, waiting *w) {
    const int64_t n_columns = j->gallery.n - first_column;
    const uint64_t real = n_columns >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n_columns) - 1;
    for (int r = 0; r < k->height && first_query + r < j->query.n; r++) {
        uint64_t hits = t->hits[r] & real;
        if (!hits) continue;
        fetch(&j->query, first_query + r);
        for (int c = highest(t->upper[0][r], hits);; c = __builtin_ctzll(hits)) {
            hits &= ~((uint64_t)1 << c);
            fetch(&j->gallery, first_column + c);
            w->hit[w->n].query = first_query + r, w->hit[w->n].column = c;
            for (int by = 0; by < t->rankings; by++) w->hit[w->n].upper[by] = t->upper[by][r][c];
            w->n++;
            if (!hits) break;
        }
    }
}

static void score_waiting(job *j, const kernel *k, tile *t, int64_t first_column, waiting *w, gathered *mine) {
    for (int h = 0; h < w->n; h++) {
        const int c = w->hit[h].column;
        int still = 0;
        for (int r = 0; r < j->n_rankings; r++)
            still |= w->hit[h].upper[r] >= lesser(row_floor(j->rankings + r, w->hit[h].query), t->column_floor[r][c]);
        if (still) score_pair(j, k, t, w->hit[h].query, first_column + c, c, mine);
    }
    w->n = 0;
}

static void find_least(tile *t, int32_t width) {
    for (int r = 0; r < t->rankings; r++) {
        t->column_least[r] = INFINITY;
        for (int c = 0; c < width; c++) t->column_least[r] = lesser(t->column_least[r], t->column_floor[r][c]);
    }
    t->least_changed = 0;
}

static void load_columns(const job *j, tile *t, int64_t strip, float largest_norm) {
    const packed *b = &j->b;
    t->b = b->bytes + strip * b->steps * b->width * 4;
    for (int c = 0; c < b->width; c++) {
        const int64_t column = strip * b->width + c;
        const int real = column < j->gallery.n;
        t->column_scale[c] = b->scale[column];
        for (int r = 0; r < t->rankings; r++) {
            const ranking *by = j->rankings + r;
            const double error = (double)largest_norm * b->error[column];
            t->column_base[r][c] = real ? above(error + by->gallery_offset[column]) : -INFINITY;
            t->column_floor[r][c] = real && by->best_score ? below(by->best_score[column]) : INFINITY;
        }
        for (int s = 0; s < j->stages; s++) t->column_rest[s][c] = b->rest[s * b->padded + column];
    }
    find_least(t, b->width);
}

static float largest(const float *values, int64_t n) {
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = values[i] > most ? values[i] : most;
    return most;
}

/* What is fixed of the queries of a panel, tile by tile. */
static group *gather_groups(const job *j, const kernel *k) {
    const packed *a = &j->a;
    group *groups = calloc((size_t)(a->padded / k->height) + 1, sizeof *groups);
    if (!groups) return 0;
    const double gallery_norm = largest(j->b.norm, j->b.padded);
    for (int64_t i = 0; i < a->padded; i++) {
        group *to = groups + i / k->height;
        const int64_t r = i % k->height;
        to->start[r] = -k->bias * a->sum[i];
        to->scale[r] = a->scale[i];
        for (int32_t by = 0; by < j->n_rankings; by++) {
            const ranking *of = j->rankings + by;
            const double error = a->error[i] * gallery_norm;
            to->base[by][r] = i < j->query.n ? above(error + of->query_offset[i] + of->slack) : -INFINITY;
        }
        for (int s = 0; s < j->stages; s++) {
            to->ahead[s][r] = k->bias * a->sum[(s + 1) * a->padded + i];
            to->rest[s][r] = a->rest[s * a->padded + i];
        }
    }
    return groups;
}

static void work_strip(job *j, const kernel *k, tile *t, const group *groups, int64_t strip, gathered *mine) {
    const int64_t group_bytes = (int64_t)j->a.steps * j->a.width * 4, first_column = strip * k->width;
    waiting w;
    w.n = 0;
    for (int64_t g = 0; g * k->height < j->query.n; g++) {
        const int64_t first = g * k->height;
        t->a = j->a.bytes + g * group_bytes;
        t->rows = groups + g;
        const int64_t rest = j->query.n - first;
        for (int by = 0; by < j->n_rankings; by++) {
            const float of_all = floor_of_all(j->rankings + by), least = t->column_least[by];
            float *floor = t->row_floor[by];
            for (int r = 0; r < k->height; r++) floor[r] = r < rest ? floor_of_query(j->rankings + by, first + r) : INFINITY;
            for (int r = 0; r < MAX_HEIGHT; r++) { /* of a fixed length, as a vector */
                floor[r] = lesser(of_all, floor[r]);
                t->row_need[by][r] = lesser(floor[r], least) - t->rows->base[by][r];
            }
        }
        const int any = k->multiply(t);
        if (w.n) {
            score_waiting(j, k, t, first_column, &w, mine);
            if (t->least_changed) find_least(t, k->width);
            if (atomic_load_explicit(&j->stop, memory_order_relaxed)) return;
        }
        if (any) line_up(j, k, t, first, first_column, &w);
    }
    score_waiting(j, k, t, first_column, &w, mine);
}

/* Works on strips of the gallery until none is left or the job is stopped; any number of threads may call it. */
UNVEIL_PUBLIC int32_t unveil_work(job *j) {
    const kernel *k = KERNELS[j->kernel];
    gathered mine = {0};
    tile t = {0};
    group *groups = gather_groups(j, k);
    mine.counts = calloc((size_t)j->n_levels + 1, sizeof *mine.counts);
    if (!groups || !mine.counts) end(j, NO_MEMORY);
    const float query_norm = largest(j->a.norm, j->a.padded);
    const int64_t strips = j->b.padded / k->width;
    t.stages = j->stages, t.rankings = j->n_rankings;
    memcpy(t.stage_end, j->stage_end, sizeof j->stage_end);
    t.stage_end[t.stages] = j->a.steps;
    while (!atomic_load(&j->stop)) {
        const int64_t strip = atomic_fetch_add(&j->next_strip, 1);
        if (strip >= strips) break;
        load_columns(j, &t, strip, query_norm);
        work_strip(j, k, &t, groups, strip, &mine);
        atomic_fetch_add(&j->strips_done, 1);
    }
    hand_over(j, &mine);
    take_lock(&j->lock);
    for (int64_t l = 0; mine.counts && l <= j->n_levels; l++) j->counts[l] += mine.counts[l];
    free_lock(&j->lock);
    atomic_fetch_add(&j->n_scored, mine.n_scored);
    free(groups), free(mine.counts);
    return atomic_load(&j->status);
}

/* Moves the collected pairs, in no order, into arrays with room for all; frees them. Null arrays: only frees. */
UNVEIL_PUBLIC void unveil_take_pairs(job *j, int64_t *query, int64_t *row, double *score) {
    int64_t at = 0;
    while (j->found) {
        pairs *chunk = j->found;
        for (int64_t m = 0; query && m < chunk->n; m++, at++) {
            query[at] = chunk->pair[m].query, row[at] = chunk->pair[m].row, score[at] = chunk->pair[m].score;
        }
        j->found = chunk->next;
        free(chunk);
    }
}
