/* memory.c: what the compiler may call by itself; there is no C library. */
#include <stddef.h>

void *memset(void *to, int c, size_t n)
{
	for (char *p = to; n--;)
		*p++ = (char)c;
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	char *p = to;
	for (const char *q = from; n--;)
		*p++ = *q++;
	return to;
}
