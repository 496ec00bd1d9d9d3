//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared ADDRESS [VALUE]: prints the number at an address, and writes another
 * there.
 */
#include <stdio.h>
#include <stdlib.h>

void *wine_main_preload_info;

int main(int argc, char **argv)
{
	volatile int *at = (void *)(unsigned long)strtoull(argv[1], NULL, 16);

	printf("%d\n", *at);
	if (argc > 2)
		*at = atoi(argv[2]);
	return wine_main_preload_info == NULL;
}
