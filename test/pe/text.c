/*
 * Shows that text comes through in both directions, by the functions for bytes (A) and for UTF-16 (W): its argument, the
 * variable TEXT, a line of standard input, and the name of a file that it makes by one kind and finds by the other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <shellapi.h>

/* from_wide gives the bytes that UTF-16 is in the program's code page. */
static const char *from_wide(const WCHAR *s)
{
	static char out[400];

	WideCharToMultiByte(CP_ACP, 0, s, -1, out, sizeof(out), NULL, NULL);
	return out;
}

int main(int argc, char **argv)
{
	WIN32_FIND_DATAA a;
	WIN32_FIND_DATAW w;
	WCHAR wide[400];
	char line[400];
	HANDLE file;
	int n;

	printf("code pages %u %u\n", GetACP(), GetOEMCP());
	printf("argument %s %s\n", argv[1], from_wide(CommandLineToArgvW(GetCommandLineW(), &n)[1]));
	GetEnvironmentVariableW(L"TEXT", wide, 400);
	printf("variable %s %s\n", getenv("TEXT"), from_wide(wide));

	file = CreateFileA(argv[1], GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
	CloseHandle(file);
	if (FindFirstFileA("*", &a) == INVALID_HANDLE_VALUE || (file = FindFirstFileW(L"*", &w)) == INVALID_HANDLE_VALUE)
		return 1;
	do
		if (!strcmp(from_wide(w.cFileName), argv[1]))
			printf("file %s\n", from_wide(w.cFileName));
	while (FindNextFileW(file, &w));

	if (!fgets(line, sizeof(line), stdin))
		return 1;
	line[strcspn(line, "\r\n")] = 0;
	n = MultiByteToWideChar(CP_ACP, 0, line, -1, wide, 400) - 1;
	printf("line %s of %d\n", line, n);
	fflush(stdout);
	return 0;
}
