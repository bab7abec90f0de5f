/* The memory functions that compilers expect of whatever is linked. */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t count)
{
    void *place = to;

    __asm__ volatile("rep movsb" : "+D"(place), "+S"(from), "+c"(count)::"memory");
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    unsigned char *out = to;
    const unsigned char *in = from;

    if (out <= in || out >= in + count)
        return memcpy(to, from, count);
    while (count-- > 0)
        out[count] = in[count];
    return to;
}

void *memset(void *to, int value, size_t count)
{
    void *place = to;

    __asm__ volatile("rep stosb" : "+D"(place), "+c"(count) : "a"(value) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const unsigned char *left = a, *right = b;

    for (; count > 0; count--, left++, right++)
        if (*left != *right)
            return *left - *right;
    return 0;
}

int bcmp(const void *a, const void *b, size_t count)
{
    return memcmp(a, b, count);
}
