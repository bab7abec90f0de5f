#ifndef MISUSE_H
#define MISUSE_H

/* Calls the library in every wrong way that it can know of; answers with how many were not answered as they should be. */
int misuse(void);

#endif
