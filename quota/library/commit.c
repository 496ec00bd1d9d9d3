//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
#include "quota.h"

u64 committed(void)
{
	return 0;
}

/* Called by the dynamic linker before the program's own code. */
static __attribute__((constructor, used)) void begin(void)
{
	find_limits();
}
