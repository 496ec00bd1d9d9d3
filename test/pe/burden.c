/*
 * Puts a burden on its container. The first argument says which:
 *   family MIB    a child commits and touches so much, and says so; this process waits for ever
 *   eat MIB       is that child
 *   processes N   a bomb: starts itself as such, and goes on until N attempts have failed
 *   threads N     starts threads until N attempts have failed
 *   spin N        N threads use all the processor time they get, for ever
 *   work          for each line of input, a step of a calculation, whose result is printed
 * Bombs print how many attempts succeeded, and the last error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static int start(const char *what)
{
	char                path[MAX_PATH], command[100];
	STARTUPINFOA        startup = { sizeof(startup) };
	PROCESS_INFORMATION child;

	GetModuleFileNameA(NULL, path, sizeof(path));
	snprintf(command, sizeof(command), "burden %s", what);
	if (!CreateProcessA(path, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &child))
		return 0;
	CloseHandle(child.hThread);
	CloseHandle(child.hProcess);
	return 1;
}

static DWORD WINAPI sleep_forever(void *unused)
{
	Sleep(INFINITE);
	return 0;
}

static DWORD WINAPI spin_forever(void *unused)
{
	for (volatile int i = 0; i >= 0; i ^= 1)
		;
	return 0;
}

static void eat(int mib)
{
	for (int i = 0; i < mib; i++) {
		char *p = VirtualAlloc(NULL, 1 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

		if (!p) {
			printf("failed after %d MiB with error %lu\n", i, GetLastError());
			exit(3);
		}
		memset(p, 1 + i % 255, 1 << 20);
	}
	printf("%d MiB\n", mib);
	fflush(stdout);
	Sleep(INFINITE);
}

static void bomb(int processes, int failures)
{
	char  again[40];
	int   got = 0;
	DWORD error = 0;

	snprintf(again, sizeof(again), "processes %d", failures);
	while (failures > 0) {
		HANDLE thread = NULL;

		if (processes ? start(again) : !!(thread = CreateThread(NULL, 64 << 10, sleep_forever, NULL, 0, NULL))) {
			got++;
			continue;
		}
		error = GetLastError();
		failures--;
	}
	printf("%d started, then error %lu\n", got, error);
	fflush(stdout);
	/* At once, without the clean-up that could wait for the others. */
	TerminateProcess(GetCurrentProcess(), 0);
}

static void work(void)
{
	unsigned long long x = 1;

	printf("ready\n");
	fflush(stdout);
	while (getchar() != EOF) {
		for (int i = 0; i < 10000000; i++)
			x = x * 6364136223846793005ull + 1442695040888963407ull;
		printf("%llu\n", x);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int         n = argc > 2 ? atoi(argv[2]) : 0;
	char        child[40];

	if (!strcmp(what, "family")) {
		snprintf(child, sizeof(child), "eat %d", n);
		if (!start(child))
			return 4;
		Sleep(INFINITE);
	} else if (!strcmp(what, "eat")) {
		eat(n);
	} else if (!strcmp(what, "processes") || !strcmp(what, "threads")) {
		bomb(what[0] == 'p', n);
	} else if (!strcmp(what, "spin")) {
		for (int i = 1; i < n; i++)
			CreateThread(NULL, 64 << 10, spin_forever, NULL, 0, NULL);
		printf("spinning\n");
		fflush(stdout);
		spin_forever(NULL);
	} else if (!strcmp(what, "work")) {
		work();
	}
	return 0;
}
