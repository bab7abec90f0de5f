/* The wire to the lab on the host: a command comes as the boot module, the answer goes out as numbered lines on the console,
 * each with a checksum (crates/xen-guest/wire). */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>

/* Adds to the answer. */
void wire_text(const char *text);
void wire_number(uint64_t value);

/* Carries out the command of the boot module and answers. */
void wire_serve(void);

/* Last words of a kernel that crashes. */
void wire_last_words(const char *text);
void wire_last_number(const char *name, uint64_t value);

#endif
