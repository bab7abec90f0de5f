/* The machine that the kernel runs on in user space. */
#ifndef MACHINE_H
#define MACHINE_H

#include "ground.h"
#include "mockxen.h"

struct machine {
    struct mockxen_guest *guest;
    uint32_t pages;
};

/* What a thread plays. */
struct processor {
    uint32_t vcpu;
    uint32_t context;
    uint64_t masked;
};

extern struct machine machine;
extern _Thread_local struct processor processor;

/* A fresh one; the one before goes. */
void machine_start(void);

/* Prints the referee's verdict where it is not clean; answers with whether it is, and puts the broken rules, bit n for Rn,
 * into `rules`. */
int machine_is_clean(uint64_t *rules);

#endif
