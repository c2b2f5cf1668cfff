/* Random arrangements of few places, drawn and added up at once: the numbers are those of NumPy's Generator.permuted.
 *
 * NumPy exchanges each place, from the last to the second, with a random one up to it (Fisher and Yates), which is the
 * next 32-bit number of the bit generator under a mask that is in range. */
#include "unveil.h"

enum { MAX_PLACES = 64 };

/* sums[m] += the sum over i of similarity[i][place of i in arrangement m], added in order. Returns 0 for too many places,
 * and then draws nothing. `next` is NumPy's next_uint32 for this `state`. */
UNVEIL_PUBLIC int32_t unveil_add_arranged(uint32_t (*next)(void *), void *state, int64_t places, int64_t arrangements,
                                          const double *similarity, double *sums) {
    if (places > MAX_PLACES) return 0;
    uint32_t masks[MAX_PLACES];
    for (uint32_t i = 0, mask = 0; i < places; masks[i++] = mask)
        while (mask < i) mask = 2 * mask + 1;
    for (int64_t m = 0; m < arrangements; m++) {
        uint8_t at[MAX_PLACES];
        for (int64_t i = 0; i < places; i++) at[i] = (uint8_t)i;
        for (uint32_t i = (uint32_t)places; i-- > 1;) {
            uint32_t j;
            do j = next(state) & masks[i];
            while (j > i);
            const uint8_t other = at[j];
            at[j] = at[i], at[i] = other;
        }
        double total = 0;
        for (int64_t i = 0; i < places; i++) total += similarity[i * places + at[i]];
        sums[m] += total;
    }
    return 1;
}
