/*
 * A service that notes in C:\service.txt when it starts and when it is stopped. With an argument it is no service: it asks for
 * the service manager from eight threads at once, and prints how many have got it.
 */
#include <stdio.h>
#include <windows.h>

static SERVICE_STATUS_HANDLE handle;
static HANDLE stopped;

static void note(const char *word)
{
	FILE *f = fopen("C:\\service.txt", "a");

	if (f) {
		fprintf(f, "%s\n", word);
		fclose(f);
	}
}

static void report(DWORD state)
{
	SERVICE_STATUS status = { SERVICE_WIN32_OWN_PROCESS, state, SERVICE_ACCEPT_STOP, NO_ERROR, 0, 0, 0 };

	SetServiceStatus(handle, &status);
}

static DWORD WINAPI control(DWORD what, DWORD type, void *data, void *context)
{
	(void)type, (void)data, (void)context;
	if (what == SERVICE_CONTROL_STOP) {
		note("stopped"); /* before whoever stops it goes on */
		SetEvent(stopped);
	}
	return what == SERVICE_CONTROL_STOP || what == SERVICE_CONTROL_INTERROGATE ? NO_ERROR : ERROR_CALL_NOT_IMPLEMENTED;
}

static void WINAPI serve(DWORD argc, char **argv)
{
	(void)argc;
	stopped = CreateEventA(NULL, TRUE, FALSE, NULL);
	handle = RegisterServiceCtrlHandlerExA(argv[0], control, NULL);
	note("started");
	report(SERVICE_RUNNING);
	WaitForSingleObject(stopped, INFINITE);
	report(SERVICE_STOPPED);
}

static DWORD WINAPI ask(void *unused)
{
	SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT);

	(void)unused;
	return manager && CloseServiceHandle(manager);
}

static int ask_at_once(void)
{
	HANDLE threads[8];
	int served = 0;

	for (int i = 0; i < 8; i++)
		threads[i] = CreateThread(NULL, 0, ask, NULL, 0, NULL);
	for (int i = 0; i < 8; i++) {
		DWORD ok = 0;
		WaitForSingleObject(threads[i], INFINITE);
		GetExitCodeThread(threads[i], &ok);
		served += ok;
	}
	printf("%d\n", served);
	return 0;
}

int main(int argc, char **argv)
{
	SERVICE_TABLE_ENTRYA table[] = { { "sample", serve }, { NULL, NULL } };

	(void)argv;
	if (argc > 1)
		return ask_at_once();

	return StartServiceCtrlDispatcherA(table) ? 0 : 1;
}
