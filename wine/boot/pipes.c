/*
 * Runs a program with Windows pipes in place of the Unix pipes and sockets among its standard streams, and copies
 * between the two. The command line is that of the program, after this one's own name; the exit code is the program's.
 *
 * Two variables of the environment, which the program does not get, change that: WINBOX_COMMAND_LINE is the command line
 * for a program that is to have one which Wine would not make of arguments, and with WINBOX_PIPES pipes stay as they are.
 *
 * To Wine, a Unix pipe is a file of the type pipe. Reading and writing it works, but Wine's server has no named pipe of
 * it: SetNamedPipeHandleState fails with ERROR_INVALID_HANDLE. Programs with libuv call that for each standard stream
 * that is a pipe, and give up: node.exe with EBADF. On Windows such a stream is a named pipe always.
 *
 * It imports kernel32 and ntdll only, which every process of Wine's loads anyway.
 */
#include <windows.h>
#include <winternl.h>

enum {
	BUFFER = 64 << 10,
	MAX_NAME = 1 << 15, /* of a path, in characters */
	FAILED = 127, /* exit code when the program cannot be started, as of a shell */
};

/* The compiler may call it by itself; there is no C library. */
void *memset(void *to, int c, size_t n)
{
	for (char *p = to; n--;)
		*p++ = (char)c;
	return to;
}

/* A stream is one of the three: unix is the side of the caller, ours and theirs are the ends of a Windows pipe. */
struct stream {
	HANDLE unix, ours, theirs;
	char   buffer[BUFFER];
};

static struct stream streams[3];
static HANDLE        program;

/* write_all says whether everything went. */
static BOOL write_all(HANDLE to, const char *data, DWORD size)
{
	for (DWORD n; size; data += n, size -= n)
		if (!WriteFile(to, data, size, &n, NULL))
			return FALSE;
	return TRUE;
}

/* take copies standard input. Its end is passed on by closing; this process has the only handle of that end. */
static DWORD WINAPI take(void *arg)
{
	struct stream *s = arg;
	DWORD          n;

	while (ReadFile(s->unix, s->buffer, BUFFER, &n, NULL) && n)
		if (!write_all(s->ours, s->buffer, n))
			break;
	CloseHandle(s->ours);
	CloseHandle(s->unix);
	return 0;
}

/* give copies an output stream until nobody has its other end, or the program has ended and all that it wrote is
 * through: its children may live on. When nobody reads any more, the program learns so by a broken pipe. */
static DWORD WINAPI give(void *arg)
{
	struct stream *s = arg;
	OVERLAPPED     reading = { .hEvent = CreateEventW(NULL, TRUE, FALSE, NULL) };
	HANDLE         either[2] = { reading.hEvent, program };
	DWORD          n;

	for (;;) {
		if (!ReadFile(s->ours, s->buffer, BUFFER, NULL, &reading)) {
			if (GetLastError() != ERROR_IO_PENDING)
				break;
			/* Of two that are signaled it is the first that counts. */
			if (WaitForMultipleObjects(2, either, FALSE, INFINITE) != WAIT_OBJECT_0)
				break;
		}
		if (!GetOverlappedResult(s->ours, &reading, &n, TRUE) || !write_all(s->unix, s->buffer, n))
			break;
	}
	CloseHandle(s->ours);
	CloseHandle(s->unix);
	return 0;
}

/* pipe_name makes a name of this process's own for a stream's pipe. */
static const WCHAR *pipe_name(int i)
{
	static WCHAR name[] = L"\\\\.\\pipe\\winbox-stream-0-0000000000";
	WCHAR       *end = name + sizeof(name) / sizeof(name[0]) - 1;
	DWORD        id = GetCurrentProcessId();

	for (int digit = 0; digit < 10; digit++, id /= 10)
		*--end = L'0' + id % 10;
	end[-2] = L'0' + i;
	return name;
}

/* make_pipe makes the Windows pipe of a stream. Only the program's end is inherited. That of its input is asynchronous:
 * Wine cannot end the wait of a synchronous reader, and libuv would wait for it when a program is done. */
static BOOL make_pipe(int i)
{
	struct stream      *s = &streams[i];
	SECURITY_ATTRIBUTES inherit = { .nLength = sizeof(inherit), .bInheritHandle = TRUE };
	DWORD               mode = FILE_FLAG_FIRST_PIPE_INSTANCE | (i ? PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED : PIPE_ACCESS_OUTBOUND);
	DWORD               access = i ? GENERIC_WRITE | FILE_READ_ATTRIBUTES : GENERIC_READ | FILE_WRITE_ATTRIBUTES;

	SetHandleInformation(s->unix, HANDLE_FLAG_INHERIT, 0);
	s->ours = CreateNamedPipeW(pipe_name(i), mode, PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, BUFFER, BUFFER, 0, NULL);
	if (s->ours == INVALID_HANDLE_VALUE)
		return FALSE;
	s->theirs = CreateFileW(pipe_name(i), access, 0, &inherit, OPEN_EXISTING, i ? 0 : FILE_FLAG_OVERLAPPED, NULL);
	return s->theirs != INVALID_HANDLE_VALUE;
}

/* same says whether two streams are one pipe, as after 2>&1: what is written must stay in its order. */
static BOOL same(HANDLE a, HANDLE b)
{
	LARGE_INTEGER   x, y; /* FILE_INTERNAL_INFORMATION: the number of the inode */
	IO_STATUS_BLOCK io;

	return !NtQueryInformationFile(a, &io, &x, sizeof(x), 6) && !NtQueryInformationFile(b, &io, &y, sizeof(y), 6) &&
	       x.QuadPart == y.QuadPart;
}

/* event is the program's to act upon: it gets console events, too. This process ends with the program, and not before. */
static BOOL WINAPI event(DWORD type)
{
	if (type != CTRL_C_EVENT && type != CTRL_BREAK_EVENT)
		Sleep(INFINITE); /* when this returned, the process would end */
	return TRUE;
}

/* fail says on standard error what has failed, and ends. */
static void fail(const char *what)
{
	char   text[80], *end = text;
	DWORD  code = GetLastError(), n;
	HANDLE err = streams[2].unix ? streams[2].unix : GetStdHandle(STD_ERROR_HANDLE);

	while (*what)
		*end++ = *what++;
	for (DWORD unit = 1000000000; unit; unit /= 10)
		if (code >= unit || unit == 1)
			*end++ = '0' + code / unit % 10;
	*end++ = '\n';
	WriteFile(err, text, end - text, &n, NULL);
	ExitProcess(FAILED);
}

/* word gives the end of the first word of a command line, which is the name of a program: a quotation mark in it begins or
 * ends a part with blanks. */
static WCHAR *word(WCHAR *line)
{
	for (BOOL quoted = FALSE; *line && (quoted || *line != ' '); line++)
		if (*line == '"')
			quoted = !quoted;
	return line;
}

void start(void)
{
	static const DWORD  number[3] = { STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE };
	STARTUPINFOW        startup;
	PROCESS_INFORMATION started;
	WCHAR              *line = GetCommandLineW();
	HANDLE             *theirs[3] = { &startup.hStdInput, &startup.hStdOutput, &startup.hStdError };
	HANDLE              threads[3];
	static WCHAR        name[MAX_NAME], given[MAX_NAME];
	static const WCHAR  given_by[] = L"WINBOX_COMMAND_LINE", kept_by[] = L"WINBOX_PIPES";
	DWORD               code, length = 0, count = 0;
	BOOL                kept;

	for (line = word(line); *line == ' '; line++)
		;
	for (const WCHAR *end = word(line), *from = line; from < end && length < MAX_NAME - 1; from++)
		if (*from != '"')
			name[length++] = *from;

	if (GetEnvironmentVariableW(given_by, given, MAX_NAME))
		line = given;
	kept = GetEnvironmentVariableW(kept_by, NULL, 0) != 0;
	SetEnvironmentVariableW(given_by, NULL);
	SetEnvironmentVariableW(kept_by, NULL);

	GetStartupInfoW(&startup);
	startup.dwFlags |= STARTF_USESTDHANDLES;
	for (int i = 0; i < 3; i++) {
		*theirs[i] = GetStdHandle(number[i]);
		if (kept || GetFileType(*theirs[i]) != FILE_TYPE_PIPE)
			continue;
		if (i == 2 && streams[1].unix && same(*theirs[i], streams[1].unix)) {
			SetHandleInformation(*theirs[i], HANDLE_FLAG_INHERIT, 0);
			*theirs[i] = streams[1].theirs;
			continue;
		}
		streams[i].unix = *theirs[i];
		if (!make_pipe(i))
			fail("winbox: cannot make a pipe for the program: error ");
		*theirs[i] = streams[i].theirs;
	}

	SetConsoleCtrlHandler(event, TRUE);
	/* Without its name apart, Windows would add .exe to one that has no suffix. */
	if (!CreateProcessW(name, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &started))
		fail("winbox: cannot start the program: error ");
	program = started.hProcess;
	CloseHandle(started.hThread);
	for (int i = 0; i < 3; i++) {
		if (!streams[i].unix)
			continue;
		CloseHandle(streams[i].theirs);
		HANDLE thread = CreateThread(NULL, 0, i ? give : take, &streams[i], 0, NULL);
		if (!thread)
			fail("winbox: cannot copy the streams of the program: error ");
		if (i)
			threads[count++] = thread;
	}
	WaitForSingleObject(program, INFINITE);
	if (count)
		WaitForMultipleObjects(count, threads, TRUE, INFINITE);
	GetExitCodeProcess(program, &code);
	ExitProcess(code);
}
