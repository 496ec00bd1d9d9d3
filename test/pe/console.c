/* Says whether it has a console and how large its window is; with one, it then waits to be interrupted. */
#include <stdio.h>
#include <windows.h>

int main(void)
{
	CONSOLE_SCREEN_BUFFER_INFO info;
	DWORD in, out;
	BOOL console = GetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), &in) &&
		       GetConsoleMode(GetStdHandle(STD_OUTPUT_HANDLE), &out);

	printf("console=%d", console);
	if (console && GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info))
		printf(" window=%dx%d", info.srWindow.Right - info.srWindow.Left + 1, info.srWindow.Bottom - info.srWindow.Top + 1);
	printf("\n");
	fflush(stdout);
	if (console)
		Sleep(INFINITE);
	return 0;
}
