//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest thing that Wine's preloader accepts as a loader. */
void *wine_main_preload_info;

int main(void)
{
	return 0;
}
