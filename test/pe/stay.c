/* Says that it is ready, waits for three seconds and then for the end of its input, and ends with 300. */
#include <stdio.h>
#include <windows.h>

int main(void)
{
	printf("ready\n");
	fflush(stdout);
	Sleep(3000);
	while (getchar() != EOF)
		;
	return 300;
}
