/*
 * A library that is nothing but a page of addresses: at its base they are as in
 * the file and the page is shared with it; elsewhere relocation makes it private.
 */
#include <windows.h>

static int target;

#define FOUR(x) x, x, x, x
#define MANY(x) FOUR(FOUR(FOUR(FOUR(x))))
__declspec(dllexport) int *const addresses[256] = { MANY(&target) };
