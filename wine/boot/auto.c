/*
 * auto.c: what wineboot.exe stays for under the boot profile `auto`.
 *
 * Whoever needs a service, a driver or a COM server asks the service manager first, by way of the pipe \\.\pipe\svcctl.
 * This process has that pipe until somebody opens it. Then it starts services.exe, which makes further instances of the
 * pipe, for all that come later; the first connection is passed on, message by message.
 */
#include "auto.h"

static const WCHAR pipe_name[] = L"\\\\.\\pipe\\svcctl";
static const WCHAR manager[] = L"C:\\windows\\system32\\services.exe";

enum {
	/* More than a fragment of Wine's RPC has (RPC_MAX_PACKET_SIZE): each message is read in one piece. */
	BUFFER = 1 << 16,
	/* How long a client waits, in milliseconds, that comes while services.exe is being started. */
	PATIENCE = 60000,
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

/* start_services starts the service manager and waits until it serves. It has no standard streams. */
static BOOL start_services(HANDLE end)
{
	STARTUPINFOW        startup = { .cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES };
	PROCESS_INFORMATION process;
	WCHAR               command[COUNT(manager)];
	HANDLE              events[3] = { CreateEventW(NULL, TRUE, FALSE, L"__wine_SvcctlStarted"), end };
	DWORD               which;

	startup.hStdInput = startup.hStdOutput = startup.hStdError = INVALID_HANDLE_VALUE;
	memcpy(command, manager, sizeof(manager));
	if (!CreateProcessW(manager, command, NULL, NULL, FALSE, DETACHED_PROCESS, NULL, NULL, &startup, &process))
		return FALSE;
	CloseHandle(process.hThread);
	events[2] = process.hProcess;
	which = WaitForMultipleObjects(3, events, FALSE, INFINITE);
	CloseHandle(process.hProcess);
	CloseHandle(events[0]);
	return which == WAIT_OBJECT_0;
}

/* release gives back the pages of the stack that starting Wine has touched, some 950 KiB: this process has a long wait
 * before it. What lies below the frame of the caller is of no use to anybody. */
static void release(void)
{
	enum { KEPT = 1 << 14 };
	ULONG_PTR limit, top = (ULONG_PTR)__builtin_frame_address(0) - KEPT;

	__asm__("movq %%gs:0x10, %0" : "=r"(limit)); /* NT_TIB.StackLimit */
	if (top > limit)
		VirtualAlloc((void *)limit, (top - limit) & ~(ULONG_PTR)0xfff, MEM_RESET, PAGE_READWRITE);
}

HANDLE watch(void)
{
	return own_pipe();
}

void serve(HANDLE pipe)
{
	OVERLAPPED connecting = { .hEvent = CreateEventW(NULL, TRUE, FALSE, NULL) };
	HANDLE     server, events[2] = { NULL, connecting.hEvent };

	/* The session does not wait for processes of the system: it signals this event when the last other one has ended. */
	if (NtSetInformationProcess(this_process, PROCESS_MAKE_SYSTEM, &events[0], sizeof(HANDLE *)))
		return;
	release();
	if (!ConnectNamedPipe(pipe, &connecting)) {
		DWORD why = GetLastError();
		if (why == ERROR_IO_PENDING) {
			if (WaitForMultipleObjects(2, events, FALSE, INFINITE) != WAIT_OBJECT_0 + 1)
				return;
		} else if (why != ERROR_PIPE_CONNECTED) {
			return;
		}
	}
	if (!start_services(events[0]))
		return;
	/* This process's own instance has a client: the service manager's is the one that is free. */
	if (!WaitNamedPipeW(pipe_name, PATIENCE))
		return;
	server = CreateFileW(pipe_name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
	if (server == INVALID_HANDLE_VALUE)
		return;
	DWORD mode = PIPE_READMODE_MESSAGE;
	if (SetNamedPipeHandleState(server, &mode, NULL, NULL))
		pass_on(pipe, server, events[0]);
}
