//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Windows program that says where it is and waits for the end of its input.
 * With a number as its argument it first starts itself that many levels deep.
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

int main(int argc, char **argv)
{
	int depth = argc > 1 ? atoi(argv[1]) : 0;
	PROCESS_INFORMATION child = { 0 };
	STARTUPINFOA start = { .cb = sizeof(start) };
	char command[MAX_PATH + 16];

	printf("image %p depth %d\n", (void *)GetModuleHandleA(NULL), depth);
	fflush(stdout);
	if (depth > 0) {
		snprintf(command, sizeof(command), "\"%s\" %d", argv[0], depth - 1);
		if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child))
			return 1;
		WaitForSingleObject(child.hProcess, INFINITE);
		return 7;
	}
	while (getchar() != EOF)
		;
	return 7;
}
