/* random prints what ProcessPrng gives, in big and small pieces. */
#include <stdio.h>
#include <windows.h>

static BYTE big[3 << 20];

int wmain(void)
{
	HMODULE dll = LoadLibraryExW(L"bcryptprimitives.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
	BOOL(WINAPI * prng)(BYTE *, SIZE_T) = dll ? (void *)GetProcAddress(dll, "ProcessPrng") : NULL;
	BYTE small[16] = { 0 };

	if (!prng || !prng(small, sizeof(small)) || !prng(big, sizeof(big)) || !prng(small, 0))
		return 1;
	for (int i = 0; i < 16; i++)
		printf("%02x%02x", small[i], big[sizeof(big) - 1 - i]);
	return 0;
}
