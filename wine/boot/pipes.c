/*
 * Runs a program with Windows pipes in place of the Unix pipes and sockets among its standard streams, and copies
 * between the two. The command line is that of the program, after this one's own name; the exit code is the program's.
 *
 * The variable WINBOX_COMMAND_LINE, which the program does not get, is the command line for a program that is to have one
 * which Wine would not make of arguments.
 *
 * With -x before the name of the program, streams stay as they are, and this process becomes the program
 * (quota/library/become.c). So a 64-bit loader can start a 32-bit program: by itself, it would have Wine's start.exe do so,
 * which stays.
 *
 * To Wine, a Unix pipe is a file of the type pipe. Reading and writing it works, but Wine's server has no named pipe of
 * it: SetNamedPipeHandleState fails with ERROR_INVALID_HANDLE. Programs with libuv call that for each standard stream
 * that is a pipe, and give up: node.exe with EBADF. On Windows such a stream is a named pipe always.
 *
 * With -eNUMBER before the name of the program, what it writes is text in that code page, or in UTF-16 (1200), and becomes UTF-8; what it
 * reads is UTF-8 and becomes that. Then all standard streams that are files become pipes as well.
 *
 * It imports kernel32 and ntdll only, which every process of Wine's loads anyway.
 */
#include "nt.h"

enum {
	BUFFER = 64 << 10,
	MAX_NAME = 1 << 15, /* of a path, in characters */
	FAILED = 127, /* exit code when the program cannot be started, as of a shell */
	UTF16 = 1200,
	MOST = 3, /* bytes of UTF-8 that a byte of a code page, or half of a unit of UTF-16, can become */
	BEHIND = 3, /* bytes of a letter that is not complete */
};

/* The code page of the program's text; 0 when its bytes are left alone. */
static UINT page;

/* The compiler may call these by itself; there is no C library. */
void *memcpy(void *to, const void *from, size_t n)
{
	char       *t = to;
	const char *f = from;

	while (n--)
		*t++ = *f++;
	return to;
}

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
	DWORD  kept;  /* bytes at the start of the buffer that are the beginning of a letter */
	BOOL   begun; /* there has been something */
	WCHAR  wide[BUFFER];
	char   text[BUFFER * MOST];
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

/* incomplete_utf8 gives the bytes at the end that begin a letter of UTF-8. */
static DWORD incomplete_utf8(const UCHAR *data, DWORD size)
{
	for (DWORD n = 1; n <= BEHIND && n <= size; n++) {
		UCHAR c = data[size - n];

		if (c >= 0xc0)
			return n < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u) ? n : 0;
		if (c < 0x80)
			return 0;
	}
	return 0;
}

/* incomplete_page does so for a code page, of which a letter may be two bytes. */
static DWORD incomplete_page(const UCHAR *data, DWORD size)
{
	DWORD i = 0;

	while (i < size)
		i += IsDBCSLeadByteEx(page, data[i]) ? 2 : 1;
	return i > size;
}

/* incomplete_utf16 does so for UTF-16, of which a letter may be two units. */
static DWORD incomplete_utf16(const UCHAR *data, DWORD size)
{
	DWORD odd = size % sizeof(WCHAR);

	size -= odd;
	return odd + (size && data[size - 1] >= 0xd8 && data[size - 1] <= 0xdb ? sizeof(WCHAR) : 0);
}

/* to_wide gives the units of UTF-16 that bytes are. */
static DWORD to_wide(struct stream *s, UINT from, DWORD size)
{
	if (from != UTF16)
		return size ? MultiByteToWideChar(from, 0, s->buffer, size, s->wide, BUFFER) : 0;
	memcpy(s->wide, s->buffer, size);
	if (size % sizeof(WCHAR)) { /* half a unit is the last that came */
		memcpy(&s->wide[size / sizeof(WCHAR)], L"\xfffd", sizeof(WCHAR));
		size++;
	}
	return size / sizeof(WCHAR);
}

/*
 * convert writes what is in the buffer, of which more bytes are new, from one code page in another. What is not complete
 * stays in the buffer, unless it is the last.
 */
static BOOL convert(struct stream *s, UINT from, UINT to, HANDLE out, DWORD more, BOOL last)
{
	const UCHAR *data = (const UCHAR *)s->buffer;
	DWORD        size = s->kept + more, units, first = 0;

	s->kept = last ? 0
		: from == UTF16   ? incomplete_utf16(data, size)
		: from == CP_UTF8 ? incomplete_utf8(data, size)
				  : incomplete_page(data, size);
	units = to_wide(s, from, size - s->kept);
	memcpy(s->buffer, s->buffer + size - s->kept, s->kept);
	if (!units)
		return TRUE;
	if (from == UTF16 && !s->begun && s->wide[0] == 0xfeff)
		first = 1; /* the mark of the byte order, which UTF-8 does without */
	s->begun = TRUE;
	if (to == UTF16)
		return write_all(out, (char *)s->wide, units * sizeof(WCHAR));
	units -= first;
	return !units || write_all(out, s->text, WideCharToMultiByte(to, 0, s->wide + first, units, s->text, sizeof(s->text), NULL, NULL));
}

/* take copies standard input. Its end is passed on by closing; this process has the only handle of that end. */
static DWORD WINAPI take(void *arg)
{
	struct stream *s = arg;
	DWORD          n;

	while (ReadFile(s->unix, s->buffer + s->kept, BUFFER - s->kept, &n, NULL) && n)
		if (!(page ? convert(s, CP_UTF8, page, s->ours, n, FALSE) : write_all(s->ours, s->buffer, n)))
			break;
	if (page)
		convert(s, CP_UTF8, page, s->ours, 0, TRUE);
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
		if (!ReadFile(s->ours, s->buffer + s->kept, BUFFER - s->kept, NULL, &reading)) {
			if (GetLastError() != ERROR_IO_PENDING)
				break;
			/* Of two that are signaled it is the first that counts. */
			if (WaitForMultipleObjects(2, either, FALSE, INFINITE) != WAIT_OBJECT_0)
				break;
		}
		if (!GetOverlappedResult(s->ours, &reading, &n, TRUE) ||
		    !(page ? convert(s, page, CP_UTF8, s->unix, n, FALSE) : write_all(s->unix, s->buffer, n)))
			break;
	}
	if (page)
		convert(s, page, CP_UTF8, s->unix, 0, TRUE);
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

/* What winternl.h has of RTL_USER_PROCESS_PARAMETERS, with the fields that it leaves out (phnt, ntrtl.h). */
struct parameters {
	ULONG          allocated, size, flags, debug_flags;
	HANDLE         console;
	ULONG          console_flags;
	HANDLE         stream[3];
	UNICODE_STRING directory;
	HANDLE         directory_handle;
	UNICODE_STRING libraries, image, line;
	WCHAR         *environment;
	ULONG          x, y, width, height, columns, rows, fill, window_flags, show;
	UNICODE_STRING title, desktop, shell, runtime;
	UCHAR          directories[32][24]; /* of each drive */
	ULONG_PTR      environment_size, environment_version;
	void          *packages;
	ULONG          group;
};

/* PS_ATTRIBUTE_LIST, of one that names the image. */
struct image_attribute {
	SIZE_T size;
	struct {
		ULONG_PTR attribute;
		SIZE_T    size;
		WCHAR    *value;
		SIZE_T   *returned;
	} image;
};
#define ATTRIBUTE_IMAGE_NAME 0x20005
#define INHERIT_HANDLES 4

PEB *NTAPI     RtlGetCurrentPeb(void);
NTSTATUS NTAPI RtlCreateProcessParametersEx(struct parameters **, const UNICODE_STRING *, const UNICODE_STRING *,
                                            const UNICODE_STRING *, const UNICODE_STRING *, WCHAR *, const UNICODE_STRING *,
                                            const UNICODE_STRING *, const UNICODE_STRING *, const UNICODE_STRING *, ULONG);
NTSTATUS NTAPI NtCreateUserProcess(HANDLE *, HANDLE *, ACCESS_MASK, ACCESS_MASK, OBJECT_ATTRIBUTES *, OBJECT_ATTRIBUTES *,
                                   ULONG, ULONG, struct parameters *, void *, struct image_attribute *);

/*
 * become has the program started in the place of this process; CreateProcessW would leave it to this process to let the
 * program's thread run. It returns FALSE when the program cannot be started, and TRUE without the library that puts it there.
 */
static BOOL become(const WCHAR *name, const WCHAR *line)
{
	struct parameters     *own = (struct parameters *)RtlGetCurrentPeb()->ProcessParameters, *given;
	struct image_attribute attributes = { sizeof(attributes), { ATTRIBUTE_IMAGE_NAME, 0, NULL, NULL } };
	ULONGLONG              created[11] = { sizeof(created) }; /* PS_CREATE_INFO, which nobody reads */
	UNICODE_STRING         image, command, path;
	HANDLE                 thread;
	NTSTATUS               status;

	RtlInitUnicodeString(&image, name);
	RtlInitUnicodeString(&command, line);
	status = RtlCreateProcessParametersEx(&given, &image, NULL, NULL, &command, NULL, &image, NULL, NULL, NULL, 1 /* normalized */);
	if (!status) {
		given->console = own->console;
		for (int i = 0; i < 3; i++)
			given->stream[i] = own->stream[i];
		given->show = own->show;
		given->group = own->group; /* who get the console's events */
		if (!RtlDosPathNameToNtPathName_U(name, &path, NULL, NULL)) {
			SetLastError(ERROR_FILE_NOT_FOUND);
			return FALSE;
		}
		attributes.image.size = path.Length;
		attributes.image.value = path.Buffer;
		OpenEventW(SYNCHRONIZE, FALSE, L"winbox-become");
		status = NtCreateUserProcess(&program, &thread, PROCESS_ALL_ACCESS, THREAD_ALL_ACCESS, NULL, NULL, INHERIT_HANDLES, 0,
		                             given, created, &attributes);
	}
	SetLastError(RtlNtStatusToDosError(status));
	return !status;
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
	static const WCHAR  given_by[] = L"WINBOX_COMMAND_LINE";
	DWORD               code, length = 0, count = 0;
	BOOL                becomes = FALSE;

	for (line = word(line); *line == ' '; line++)
		;
	if (line[0] == '-' && line[1] == 'e') {
		for (line += 2; *line >= '0' && *line <= '9'; line++)
			page = page * 10 + (*line - '0');
		while (*line == ' ')
			line++;
	} else if (line[0] == '-' && line[1] == 'x') {
		becomes = TRUE;
		for (line += 2; *line == ' '; line++)
			;
	}
	for (const WCHAR *end = word(line), *from = line; from < end && length < MAX_NAME - 1; from++)
		if (*from != '"')
			name[length++] = *from;

	if (GetEnvironmentVariableW(given_by, given, MAX_NAME))
		line = given;
	SetEnvironmentVariableW(given_by, NULL);

	GetStartupInfoW(&startup);
	startup.dwFlags |= STARTF_USESTDHANDLES;
	for (int i = 0; i < 3 && !becomes; i++) {
		*theirs[i] = GetStdHandle(number[i]);
		DWORD type = GetFileType(*theirs[i]);
		if (page ? type != FILE_TYPE_PIPE && type != FILE_TYPE_DISK : type != FILE_TYPE_PIPE)
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
	if (becomes) {
		if (!become(name, line))
			fail("winbox: cannot start the program: error ");
	/* Without its name apart, Windows would add .exe to one that has no suffix. */
	} else if (!CreateProcessW(name, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &started)) {
		fail("winbox: cannot start the program: error ");
	} else {
		program = started.hProcess;
		CloseHandle(started.hThread);
	}
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
