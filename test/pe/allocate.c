/* Allocates and touches as many MiB as the first argument says, and says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	int want = argc > 1 ? atoi(argv[1]) : 0, got;

	for (got = 0; got < want; got++) {
		char *p = malloc(1 << 20);

		if (!p)
			break;
		/* Not zero: the kernel would not need a page of its own for that. */
		memset(p, 1 + got % 255, 1 << 20);
	}
	printf("%d MiB\n", got);
	return got == want ? 0 : 3;
}
