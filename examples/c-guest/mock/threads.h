#ifndef THREADS_H
#define THREADS_H

/* Two threads, each a vCPU with a task of its own, work on one table through one kernel at once. */
void threads(void);

#endif
