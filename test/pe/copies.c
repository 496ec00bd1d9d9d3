/*
 * Starts as many copies of itself as its argument says, waits until all run, lets them go on together, and prints how many
 * ended with the exit code that each was given. A copy writes a file of its own and reads it back before it ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

/* What parent and copies have by name: "ready" counts the copies that run, "go" lets them end. */
static HANDLE ready, go;

static int copy(int number)
{
	char name[32], text[32], back[32] = "";
	FILE *file;

	ReleaseSemaphore(ready, 1, NULL);
	if (WaitForSingleObject(go, INFINITE))
		return 255;
	snprintf(name, sizeof(name), "copy-%d.txt", number);
	snprintf(text, sizeof(text), "written by copy %d", number);
	if (!(file = fopen(name, "w")) || fputs(text, file) < 0 || fclose(file))
		return 254;
	if (!(file = fopen(name, "r")) || !fgets(back, sizeof(back), file) || fclose(file) || strcmp(text, back))
		return 253;
	return number;
}

static HANDLE start(int number)
{
	char path[MAX_PATH], command[32];
	STARTUPINFOA startup = { sizeof(startup) };
	PROCESS_INFORMATION process;

	GetModuleFileNameA(NULL, path, sizeof(path));
	snprintf(command, sizeof(command), "copies %d copy", number);
	if (!CreateProcessA(path, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process)) {
		fprintf(stderr, "copy %d: error %lu\n", number, GetLastError());
		exit(1);
	}
	return process.hProcess;
}

int main(int argc, char **argv)
{
	HANDLE copies[MAXIMUM_WAIT_OBJECTS];
	int n = argc > 1 ? atoi(argv[1]) : 0, right = 0;
	DWORD code;

	ready = CreateSemaphoreA(NULL, 0, MAXIMUM_WAIT_OBJECTS, "ready");
	go = CreateEventA(NULL, TRUE, FALSE, "go");
	if (argc > 2)
		return copy(n);
	if (n < 1 || n > MAXIMUM_WAIT_OBJECTS)
		return 2;
	for (int i = 0; i < n; i++)
		copies[i] = start(i);
	for (int i = 0; i < n; i++)
		WaitForSingleObject(ready, INFINITE);
	printf("%d run\n", n);
	fflush(stdout);
	getchar();
	SetEvent(go);
	WaitForMultipleObjects(n, copies, TRUE, INFINITE);
	for (int i = 0; i < n; i++)
		right += GetExitCodeProcess(copies[i], &code) && code == (DWORD)i;
	printf("%d ended\n", right);
	return 0;
}
