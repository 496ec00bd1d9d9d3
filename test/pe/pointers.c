/*
 * A library with a good deal of code, and a table of addresses that have to
 * change when it is not at its base. All of it is read when asked for.
 */
#include <windows.h>

/* Code that is never run, a quarter of a MiB. */
asm(".section .text\n.globl code\ncode: .fill 262144, 1, 0xcc\n");
extern const unsigned char code[] asm("code");

#define POINTERS 16384
static const void *const table[POINTERS] = { [0 ... POINTERS - 1] = code };

/* The number of addresses in the table that are right. */
__declspec(dllexport) int look(void)
{
	int good = 0, sum = 0;

	for (int i = 0; i < 262144; i += 4096)
		sum += code[i] == 0xcc;
	for (int i = 0; i < POINTERS; i++)
		good += *(const void *volatile *)&table[i] == code;
	return sum == 64 ? good : 0;
}
