/* Says that it waits, and waits to be stopped. */
#include <stdio.h>
#include <windows.h>

int main(void)
{
	printf("waiting\n");
	fflush(stdout);
	Sleep(INFINITE);
	return 0;
}
