/*
 * auto.c: what wineboot.exe stays for under the boot profile `auto`.
 *
 * Whoever needs a service or a COM server asks the service manager first, by way of the pipe \\.\pipe\svcctl.
 * This process has that pipe until somebody opens it. Then it starts services.exe, which makes further instances of the
 * pipe, for all that come later; the first connection is passed on, message by message. devices.c does the same for
 * drivers.
 */
#include "auto.h"
#include "devices.h"

static const WCHAR pipe_name[] = L"\\\\.\\pipe\\svcctl";
static const WCHAR manager[] = L"C:\\windows\\system32\\services.exe";

enum {
	/* More than a fragment of Wine's RPC has (RPC_MAX_PACKET_SIZE): each message is read in one piece. */
	BUFFER = 1 << 16,
	/* How long a client waits, in milliseconds, that comes while services.exe is being started. */
	PATIENCE = 60000,
	/* How long after its start, in milliseconds, this process gives back what it does not need for its wait. */
	SETTLED = 500,
};

/* One direction of a connection that is passed on. */
struct direction {
	HANDLE     from, to;
	OVERLAPPED reading;
	char       buffer[BUFFER];
};

/* own_pipe makes the one instance of the pipe, as Wine's RPC server makes its own; NULL when it cannot. */
static HANDLE own_pipe(void)
{
	HANDLE pipe = CreateNamedPipeW(pipe_name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE,
	                               PIPE_UNLIMITED_INSTANCES, BUFFER, BUFFER, PATIENCE, NULL);
	return pipe == INVALID_HANDLE_VALUE ? NULL : pipe;
}

/* begin_read reads the next message; FALSE when the other end is closed. */
static BOOL begin_read(struct direction *d)
{
	return ReadFile(d->from, d->buffer, BUFFER, NULL, &d->reading) || GetLastError() == ERROR_IO_PENDING;
}

/* forward passes the message on that has been read, and begins with the next. */
static BOOL forward(struct direction *d)
{
	static OVERLAPPED writing;
	DWORD             n;

	if (!GetOverlappedResult(d->from, &d->reading, &n, FALSE))
		return FALSE;
	writing.hEvent = NULL; /* the handle of the file is waited for: one write at a time */
	if (!WriteFile(d->to, d->buffer, n, NULL, &writing) && GetLastError() != ERROR_IO_PENDING)
		return FALSE;
	return GetOverlappedResult(d->to, &writing, &n, TRUE) && begin_read(d);
}

/* pass_on copies messages both ways until one end is closed or the session ends. */
static void pass_on(HANDLE client, HANDLE server, HANDLE end)
{
	static struct direction there, back;
	HANDLE                  events[3] = { end };

	there.from = back.to = client;
	there.to = back.from = server;
	events[1] = there.reading.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
	events[2] = back.reading.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
	if (!begin_read(&there) || !begin_read(&back))
		return;
	for (;;) {
		DWORD which = WaitForMultipleObjects(3, events, FALSE, INFINITE);
		if (which == WAIT_OBJECT_0 + 1 ? !forward(&there) : which != WAIT_OBJECT_0 + 2 || !forward(&back))
			return;
	}
}

HANDLE session_end;

/* Signalled when the service manager has started what starts by itself, drivers among it. */
static HANDLE started;

/* The process of the service manager, once somebody has started it, and whether somebody has tried. */
static HANDLE  manager_process;
static BOOL    begun;
static SRWLOCK beginning = SRWLOCK_INIT;

/* The links of the drives, which the mount manager makes itself. */
static HANDLE drive_links[26];
static ULONG  drives;

static void unlink_drives(void)
{
	for (int i = 0; i < 26; i++)
		if (drive_links[i])
			NtClose(drive_links[i]);
}

/* begin_services starts the service manager, without standard streams, unless somebody has. The first caller learns that it
 * is. */
static BOOL begin_services(BOOL *first)
{
	STARTUPINFOW        startup = { .cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES };
	PROCESS_INFORMATION process;
	WCHAR               command[COUNT(manager)];

	AcquireSRWLockExclusive(&beginning);
	*first = !begun;
	begun = TRUE;
	if (*first) {
		remove_links();
		unlink_drives();
		startup.hStdInput = startup.hStdOutput = startup.hStdError = INVALID_HANDLE_VALUE;
		memcpy(command, manager, sizeof(manager));
		if (CreateProcessW(manager, command, NULL, NULL, FALSE, DETACHED_PROCESS, NULL, NULL, &startup, &process)) {
			CloseHandle(process.hThread);
			manager_process = process.hProcess;
		}
	}
	ReleaseSRWLockExclusive(&beginning);
	return manager_process != NULL;
}

static BOOL await_services(void)
{
	HANDLE events[3] = { started, session_end, manager_process };

	return WaitForMultipleObjects(3, events, FALSE, INFINITE) == WAIT_OBJECT_0;
}

BOOLEAN services_run(void)
{
	BOOL first;

	return begin_services(&first) && await_services();
}

/* release gives back the pages of the stacks that Wine's ntdll clears when a thread begins, 960 KiB each: this process has a
 * long wait before it. Above what is kept there is room for the frames of a thread that waits. */
void release(void)
{
	enum { KEPT = 1 << 15 };
	HANDLE                   thread = NULL, next;
	THREAD_BASIC_INFORMATION info;

	while (!NtGetNextThread(this_process, thread, THREAD_QUERY_INFORMATION, 0, 0, &next)) {
		if (thread)
			NtClose(thread);
		thread = next;
		if (NtQueryInformationThread(thread, THREAD_BASIC, &info, sizeof(info), NULL) || !info.TebBaseAddress)
			continue;
		NT_TIB   *stack = info.TebBaseAddress;
		ULONG_PTR limit = (ULONG_PTR)stack->StackLimit, top = (ULONG_PTR)stack->StackBase - KEPT;
		if (top > limit)
			VirtualAlloc((void *)limit, top - limit, MEM_RESET, PAGE_READWRITE);
	}
	if (thread)
		NtClose(thread);
}

BOOLEAN has_drive(WCHAR letter)
{
	return drives >> (letter - 'a') & 1;
}

static void *kernel_function(const char *name)
{
	return (void *)GetProcAddress(GetModuleHandleW(L"ntoskrnl.exe"), name);
}

static DWORD WINAPI device_thread(void *unused)
{
	(void)unused;
	serve_devices(session_end);
	return 0;
}

HANDLE watch(void)
{
	/* The session does not wait for processes of the system. */
	if (NtSetInformationProcess(this_process, PROCESS_MAKE_SYSTEM, &session_end, sizeof(HANDLE *)))
		return NULL;
	drives = link_drives(drive_links);
	started = CreateEventW(NULL, TRUE, FALSE, L"__wine_SvcctlStarted");
	if (LoadLibraryW(L"C:\\windows\\system32\\ntoskrnl.exe") && make_devices(kernel_function))
		CloseHandle(CreateThread(NULL, 0, device_thread, NULL, 0, NULL));
	return own_pipe();
}

/* serve_pipe waits for the first client of the service manager, and passes its messages on. */
static void serve_pipe(HANDLE pipe)
{
	OVERLAPPED connecting = { .hEvent = CreateEventW(NULL, TRUE, FALSE, NULL) };
	HANDLE     server, events[2] = { session_end, connecting.hEvent };
	DWORD      mode = PIPE_READMODE_MESSAGE;
	BOOL       first;

	if (!ConnectNamedPipe(pipe, &connecting)) {
		DWORD why = GetLastError();
		if (why == ERROR_IO_PENDING) {
			DWORD which = WaitForMultipleObjects(2, events, FALSE, SETTLED);
			if (which == WAIT_TIMEOUT) {
				release();
				which = WaitForMultipleObjects(2, events, FALSE, INFINITE);
			}
			if (which != WAIT_OBJECT_0 + 1)
				return;
		} else if (why != ERROR_PIPE_CONNECTED) {
			return;
		}
	}
	/* Who comes while the services are being started may be one of them, for which the service manager waits. */
	if (!begin_services(&first) || (first && !await_services()))
		return;
	/* This process's own instance has a client: the service manager's is the one that is free. */
	if (!WaitNamedPipeW(pipe_name, PATIENCE))
		return;
	server = CreateFileW(pipe_name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
	if (server != INVALID_HANDLE_VALUE && SetNamedPipeHandleState(server, &mode, NULL, NULL))
		pass_on(pipe, server, session_end);
}

void serve(HANDLE pipe)
{
	serve_pipe(pipe);
	CloseHandle(pipe);
	WaitForSingleObject(session_end, INFINITE);
}
