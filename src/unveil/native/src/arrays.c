/* Memory of large NumPy arrays in files without a name, so that the kernel can write their pages to disk instead of
 * ending the process. NumPy calls these four functions (NEP 49); where there is no file to be had, memory is ordinary.
 *
 * A mapping is shared with its file: its pages belong to the page cache, not to the process. The file is unlinked before
 * it is used, so that nothing is left of it when the process ends, however that is. */
#include "unveil.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_MAPPED = 4096 }; /* arrays at a time: more are in ordinary memory */

static struct {
    void *start;
    size_t size;
} mapped[MAX_MAPPED];
static int n_mapped;
static size_t bytes_mapped, most_bytes, least = SIZE_MAX;
static char name_of_file[PATH_MAX];
static atomic_flag lock = ATOMIC_FLAG_INIT;

static void take_lock(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {}
}

static void give_lock(void) { atomic_flag_clear_explicit(&lock, memory_order_release); }

/* Zeros in a file, or NULL: without a file system that can reserve space, writing to a full disk would end the process. */
static void *map_zeros(size_t size) {
    void *start = MAP_FAILED;
#ifdef __linux__
    char name[PATH_MAX];
    take_lock();
    const int fits = size >= least && n_mapped < MAX_MAPPED && size <= most_bytes - bytes_mapped;
    memcpy(name, name_of_file, sizeof name);
    give_lock();
    const int file = fits ? mkostemp(name, O_CLOEXEC) : -1;
    if (file < 0) return NULL;
    unlink(name);
    if (!fallocate(file, 0, 0, (off_t)size)) start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (start == MAP_FAILED) return NULL;
    take_lock();
    const int room = n_mapped < MAX_MAPPED;
    if (room) {
        mapped[n_mapped].start = start;
        mapped[n_mapped++].size = size;
        bytes_mapped += size;
    }
    give_lock();
    if (!room) {
        munmap(start, size);
        return NULL;
    }
#else
    (void)size;
#endif
    return start == MAP_FAILED ? NULL : start;
}

/* The size of a mapped array, 0 for ordinary memory; with `forget` it is no longer known. */
static size_t size_of(const void *start, int forget) {
    if ((uintptr_t)start % 4096) return 0; /* a mapping begins with a page */
    size_t size = 0;
    take_lock();
    for (int i = 0; i < n_mapped && !size; i++)
        if (mapped[i].start == start) {
            size = mapped[i].size;
            if (forget) {
                mapped[i] = mapped[--n_mapped];
                bytes_mapped -= size;
            }
        }
    give_lock();
    return size;
}

static void *array_malloc(void *context, size_t size) {
    (void)context;
    void *start = size >= least ? map_zeros(size) : NULL;
    return start ? start : malloc(size);
}

static void *array_calloc(void *context, size_t n, size_t size) {
    (void)context;
    void *start = size && n <= SIZE_MAX / size && n * size >= least ? map_zeros(n * size) : NULL;
    return start ? start : calloc(n, size);
}

static void array_free(void *context, void *start, size_t size) {
    (void)context, (void)size;
    const size_t known = start ? size_of(start, 1) : 0;
    if (known)
        munmap(start, known);
    else
        free(start);
}

static void *array_realloc(void *context, void *start, size_t size) {
    const size_t known = start ? size_of(start, 0) : 0;
    if (!known) return realloc(start, size);
    void *again = array_malloc(context, size);
    if (!again) return NULL;
    memcpy(again, start, known < size ? known : size);
    array_free(context, start, known);
    return again;
}

/* PyDataMem_Handler of numpy/ndarraytypes.h, version 1. */
static struct {
    char name[127];
    uint8_t version;
    struct {
        void *context;
        void *(*malloc)(void *, size_t);
        void *(*calloc)(void *, size_t, size_t);
        void *(*realloc)(void *, void *, size_t);
        void (*free)(void *, void *, size_t);
    } allocator;
} handler = {"unveil_arrays", 1, {NULL, array_malloc, array_calloc, array_realloc, array_free}};

/* The handler, whose arrays of `least_bytes` or more are files like `pattern`, which ends in XXXXXX, as long as these
 * take at most `most` bytes. NULL for a pattern that is too long. */
UNVEIL_PUBLIC void *unveil_array_handler(const char *pattern, int64_t least_bytes, int64_t most) {
    if (strlen(pattern) >= sizeof name_of_file) return NULL;
    take_lock();
    strcpy(name_of_file, pattern);
    least = (size_t)least_bytes;
    most_bytes = (size_t)most > bytes_mapped ? (size_t)most : bytes_mapped;
    give_lock();
    return &handler;
}

/* Bytes of all arrays in files. */
UNVEIL_PUBLIC int64_t unveil_array_bytes(void) {
    take_lock();
    const size_t bytes = bytes_mapped;
    give_lock();
    return (int64_t)bytes;
}
