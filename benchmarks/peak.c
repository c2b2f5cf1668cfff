/* How many int8 multiply-adds one thread can issue: twelve independent chains of the instruction and nothing else.
 * Prints multiply-adds a second; exits with 1 where there is no such instruction. */
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* other programs may use the core too */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
#include <immintrin.h>
#define STEP(r) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(r) : "v"(x), "v"(y));
__attribute__((target("avx512f,avx512vnni"))) static double rate(void) {
    const __m512i x = _mm512_set1_epi8(1), y = _mm512_set1_epi8(2);
    __m512i a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
    const long n = 50000000;
    const double start = now();
    for (long m = 0; m < n; m++) {
        STEP(a) STEP(b) STEP(c) STEP(d) STEP(e) STEP(f) STEP(g) STEP(h) STEP(i) STEP(j) STEP(k) STEP(l)
    }
    return 12 * 64 * (double)n / (now() - start);
}
int main(void) {
    if (!__builtin_cpu_supports("avx512vnni")) return 1;
    double best = 0;
    for (int r = 0; r < 5; r++) {
        const double one = rate();
        best = one > best ? one : best;
    }
    printf("%.0f\n", best);
    return 0;
}
#else
int main(void) { return 1; }
#endif
