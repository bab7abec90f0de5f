/* What the kernel does with page tables: the same on the real Xen and on the mock. */
#ifndef WORK_H
#define WORK_H

#include "mmu.h"

/* Tables whole in one region, as they should go and with refusals on the way; then without a region. Tells what became of
 * them, in the words in which the kernel in Rust does. */
void work_smoke(void);

/* One rule after the other, and tells as `rules_wrong` what did not hold: bit n is check n. `planted`: with a kernel whose
 * switches hand nothing over, which has to be found. */
void work_rules(int planted);

/* Measures the workload of this name, or all for an empty one; 0 if there is none. */
int work_bench(const char *name);

#endif
