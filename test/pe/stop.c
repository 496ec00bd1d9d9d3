/*
 * stop.exe [NAME=VALUE] MODE [PROGRAM]: waits to be stopped, and says how it is. It may set a value of the registry
 * before. MODE says what it does then:
 *
 *   handle    its handler cleans up for a while and ends it with exit code 7
 *   return    its handler returns
 *   leave     its handler returns that it has not handled the event
 *   none      it has no handler
 *   ignore    its handler never returns
 *   parent    as handle, when its child has said that it has got the event, too: PROGRAM, or itself
 *   linger    it does not wait, but leaves a child that says so when there is a file go
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static const char *mode;
static HANDLE child_is_ready, child_was_stopped;

static void say(const char *what)
{
	printf("%s\n", what);
	fflush(stdout);
}

static BOOL WINAPI handler(DWORD event)
{
	static const char *const names[] = { "ctrl-c", "ctrl-break", "ctrl-close", "", "", "ctrl-logoff", "ctrl-shutdown" };

	say(names[event]);
	if (!strcmp(mode, "child"))
		SetEvent(child_was_stopped);
	if (!strcmp(mode, "return"))
		return TRUE;
	if (!strcmp(mode, "leave"))
		return FALSE;
	if (!strcmp(mode, "parent"))
		WaitForSingleObject(child_was_stopped, INFINITE);
	else if (!strcmp(mode, "handle"))
		Sleep(200);
	else
		Sleep(INFINITE);
	say("cleaned up");
	ExitProcess(7);
}

static void start(const char *program, const char *arg)
{
	char path[MAX_PATH], command[2 * MAX_PATH];
	STARTUPINFOA startup = { sizeof(startup) };
	PROCESS_INFORMATION child;

	GetModuleFileNameA(NULL, path, sizeof(path));
	snprintf(command, sizeof(command), "\"%s\" %s", program ? program : path, arg);
	if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &child))
		ExitProcess(100);
}

int main(int argc, char **argv)
{
	char *value;

	if (argc > 1 && (value = strchr(argv[1], '='))) {
		*value++ = 0;
		RegSetKeyValueA(HKEY_CURRENT_USER, "Software\\Stop", argv[1], REG_SZ, value, strlen(value) + 1);
		argc--;
		argv++;
	}
	mode = argc > 1 ? argv[1] : "none";
	if (!strcmp(mode, "linger")) {
		start(NULL, "stay");
		say("ended");
		return 5;
	}
	if (!strcmp(mode, "stay")) {
		while (GetFileAttributesA("go") == INVALID_FILE_ATTRIBUTES)
			Sleep(10);
		say("stayed");
		return 9;
	}
	child_is_ready = CreateEventA(NULL, FALSE, FALSE, "child is ready");
	child_was_stopped = CreateEventA(NULL, FALSE, FALSE, "child was stopped");
	if (strcmp(mode, "none"))
		SetConsoleCtrlHandler(handler, TRUE);
	if (!strcmp(mode, "child")) {
		SetEvent(child_is_ready);
		Sleep(INFINITE);
	}
	if (!strcmp(mode, "parent")) {
		start(argc > 2 ? argv[2] : NULL, "child");
		WaitForSingleObject(child_is_ready, INFINITE);
	}
	say("waiting");
	Sleep(INFINITE);
}
