/*
 * Starts threads or processes, as the first argument says, up to the number
 * that the second one says; prints how many it got.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static DWORD WINAPI sleep_forever(void *unused)
{
	Sleep(INFINITE);
	return 0;
}

static HANDLE start_thread(void)
{
	return CreateThread(NULL, 64 << 10, sleep_forever, NULL, 0, NULL);
}

static HANDLE start_process(void)
{
	char path[MAX_PATH], command[] = "spawn sleep";
	STARTUPINFOA startup = { sizeof(startup) };
	PROCESS_INFORMATION child;

	GetModuleFileNameA(NULL, path, sizeof(path));
	if (!CreateProcessA(path, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &child))
		return NULL;
	return child.hProcess;
}

int main(int argc, char **argv)
{
	HANDLE (*start)(void) = start_thread;
	int want, got;

	if (argc < 3)
		Sleep(INFINITE);
	if (!strcmp(argv[1], "processes"))
		start = start_process;
	want = atoi(argv[2]);
	for (got = 0; got < want && start(); got++)
		;
	printf("%d\n", got);
	fflush(stdout);
	/* At once, without the clean-up that could wait for the others. */
	TerminateProcess(GetCurrentProcess(), 0);
	return 0;
}
