/*
 * Loads libraries, named by the arguments, and has each look at all of its
 * memory. Prints where each is, and itself, and waits for the end of its standard input.
 */
#include <stdio.h>
#include <windows.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		HMODULE library = LoadLibraryA(argv[i]);
		int (*look)(void);

		if (!library)
			return printf("%s: error %lu\n", argv[i], GetLastError()), 1;
		look = (int (*)(void))(void *)GetProcAddress(library, "look");
		if (!look || look() != 16384)
			return printf("%s at %p: addresses are wrong\n", argv[i], (void *)library), 1;
		printf("%s %p\n", argv[i], (void *)library);
	}
	printf("load.exe %p\n", (void *)GetModuleHandleA(NULL));
	printf("loaded\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
