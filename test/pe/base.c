/*
 * Prints where it lies in memory and waits for the end of its standard input.
 * With the argument "parent" it also starts itself as a child, and ends when
 * that has ended.
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static int start_child(void)
{
	char path[MAX_PATH], command[MAX_PATH + 16];
	STARTUPINFOA startup = { sizeof(startup) };
	PROCESS_INFORMATION child;
	DWORD code = 1;

	GetModuleFileNameA(NULL, path, sizeof(path));
	snprintf(command, sizeof(command), "\"%s\" child", path);
	if (!CreateProcessA(path, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &child))
		return 100 + GetLastError();
	WaitForSingleObject(child.hProcess, INFINITE);
	GetExitCodeProcess(child.hProcess, &code);
	return code;
}

int main(int argc, char **argv)
{
	const char *who = argc > 1 ? argv[1] : "program";

	printf("%s %p\n", who, (void *)GetModuleHandleA(NULL));
	fflush(stdout);
	if (!strcmp(who, "parent"))
		return start_child();
	while (getchar() != EOF)
		;
	return 0;
}
