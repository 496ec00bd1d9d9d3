/*
 * Ends with the exit code that its first argument is, or crashes: "crash" reads from address 0, "divide" divides by 0,
 * "failfast" raises what abort raises on Windows. With "ended CODE" another process ends it, by TerminateProcess, while one of
 * its threads waits and another computes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static __attribute__((noreturn)) DWORD WINAPI compute(void *unused)
{
	(void)unused;
	for (;;)
		;
}

static int be_ended(const char *program, const char *code)
{
	STARTUPINFOA startup = { .cb = sizeof(startup) };
	PROCESS_INFORMATION info;
	char command[2 * MAX_PATH];

	CreateThread(NULL, 0, compute, NULL, 0, NULL);
	snprintf(command, sizeof(command), "\"%s\" end %s %lu", program, code, GetCurrentProcessId());
	if (CreateProcessA(NULL, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &info))
		Sleep(INFINITE);
	return 3;
}

int main(int argc, char **argv)
{
	volatile int zero = 0;
	int *volatile nowhere = NULL;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "ended") && argc == 3)
		return be_ended(argv[0], argv[2]);
	if (!strcmp(argv[1], "end") && argc == 4) {
		TerminateProcess(OpenProcess(PROCESS_TERMINATE, FALSE, strtoul(argv[3], NULL, 0)), strtoul(argv[2], NULL, 0));
		return 0;
	}
	if (!strcmp(argv[1], "crash"))
		return *nowhere;
	if (!strcmp(argv[1], "divide"))
		return 100 / zero;
	if (!strcmp(argv[1], "failfast"))
		RaiseException(0xc0000409, EXCEPTION_NONCONTINUABLE, 0, NULL);
	ExitProcess(strtoul(argv[1], NULL, 0));
}
