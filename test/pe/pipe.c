/*
 * Copies standard input to standard output, and says so on standard error, if both are named pipes: libuv asks the same
 * of each standard stream. With an argument it only writes for ever, until nobody reads.
 */
#include <stdio.h>
#include <windows.h>

static char buffer[100000];

int main(int argc, char **argv)
{
	HANDLE in = GetStdHandle(STD_INPUT_HANDLE), out = GetStdHandle(STD_OUTPUT_HANDLE);
	DWORD mode = PIPE_READMODE_BYTE | PIPE_WAIT, n, written;
	unsigned long long total = 0;

	if (!SetNamedPipeHandleState(in, &mode, NULL, NULL) || !SetNamedPipeHandleState(out, &mode, NULL, NULL)) {
		fprintf(stderr, "error %lu\n", GetLastError());
		return 6;
	}
	if (argc > 1) {
		while (WriteFile(out, buffer, sizeof(buffer), &n, NULL))
			;
		fprintf(stderr, "error %lu\n", GetLastError());
		return 7;
	}
	for (; ReadFile(in, buffer, sizeof(buffer), &n, NULL) && n; total += n)
		if (!WriteFile(out, buffer, n, &written, NULL) || written != n)
			return 1;
	fprintf(stderr, "%llu bytes\n", total);
	return 0x10203;
}
