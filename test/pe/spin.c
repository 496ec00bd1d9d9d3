/* Says that it runs, and uses all the processor time it gets until it is killed. */
#include <stdio.h>

int main(void)
{
	printf("spinning\n");
	fflush(stdout);
	for (volatile int i = 0;; i++)
		;
}
