/*
 * Copies standard input to standard output in writes of one, two, three ... bytes, so that they end within letters; with the
 * argument "mark", after a byte order mark of UTF-16. Standard error gets how many bytes there were, in UTF-16.
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

int main(int argc, char **argv)
{
	static char buffer[1 << 16];
	HANDLE in = GetStdHandle(STD_INPUT_HANDLE), out = GetStdHandle(STD_OUTPUT_HANDLE);
	DWORD n, done, part, size = 0, next = 1;
	WCHAR text[40];

	if (argc > 1 && !strcmp(argv[1], "mark"))
		WriteFile(out, "\xff\xfe", 2, &n, NULL);
	while (ReadFile(in, buffer, sizeof(buffer), &n, NULL) && n)
		for (size += n, done = 0; done < n; done += part, next += next < 5000) {
			part = next < n - done ? next : n - done;
			if (!WriteFile(out, buffer + done, part, &part, NULL))
				return 1;
		}
	n = swprintf(text, 40, L"%u bytes: €\n", (unsigned)size);
	WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, n * sizeof(WCHAR), &n, NULL);
	return 9;
}
