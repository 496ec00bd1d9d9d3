//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* A library that says when it comes and goes. It goes properly only if the program was given the function in rdx. */
#include <stdio.h>

__attribute__((constructor)) static void come(void)
{
	printf("constructor %s\n", NAME);
}

__attribute__((destructor)) static void go(void)
{
	printf("destructor %s\n", NAME);
}
