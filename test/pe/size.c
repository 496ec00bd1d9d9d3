/*
 * Prints the size of its console's window and screen buffer, waits for an event that says that the size has changed, and prints
 * both again, until the window has as many columns as its argument says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static int print(void)
{
	CONSOLE_SCREEN_BUFFER_INFO info;
	char line[80];
	int columns;
	DWORD n;

	if (!GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info))
		exit(3);
	columns = info.srWindow.Right - info.srWindow.Left + 1;
	n = snprintf(line, sizeof(line), "[window %dx%d buffer %dx%d]\n", columns, info.srWindow.Bottom - info.srWindow.Top + 1, info.dwSize.X, info.dwSize.Y);
	WriteConsoleA(GetStdHandle(STD_OUTPUT_HANDLE), line, n, &n, NULL); /* at once: the console is drawn anew meanwhile */
	return columns;
}

int main(int argc, char **argv)
{
	HANDLE in = GetStdHandle(STD_INPUT_HANDLE);
	INPUT_RECORD record;
	DWORD n;

	if (argc != 2 || !SetConsoleMode(in, ENABLE_WINDOW_INPUT))
		return 2;
	print();
	while (ReadConsoleInputW(in, &record, 1, &n))
		if (record.EventType == WINDOW_BUFFER_SIZE_EVENT && print() == atoi(argv[1]))
			return 7;
	return 4;
}
