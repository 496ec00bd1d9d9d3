/*
 * crash.c: what Wine starts for a program that has crashed, in place of a debugger: the registry's AeDebug key names it, and
 * Wine adds the process id and the handle of an event. The crashed thread waits for the event, and then raises its exception
 * again for whoever is attached.
 *
 * It attaches, takes that exception, prints one line about it on the container's standard error, and ends the program
 * with the exception's code, as Wine would. One program serves 64-bit and 32-bit processes: the interface is that of NT.
 */
#include "nt.h"

#include "../../internal/freestanding/exception.h"

/* Room for the path of a file, as NT gives it: the string, and its characters behind it. */
struct path {
	UNICODE_STRING name;
	WCHAR          characters[1024];
};

/* The line: what does not fit is cut. */
struct line {
	char   s[512];
	size_t n;
};

static void put(struct line *l, const char *s)
{
	while (*s && l->n < sizeof(l->s) - 1)
		l->s[l->n++] = *s++;
}

static void put_number(struct line *l, ULONG64 value, const char *digits, unsigned base, unsigned least)
{
	char     reversed[24], one[2] = { 0, 0 };
	unsigned n = 0;

	do {
		reversed[n++] = digits[value % base];
		value /= base;
	} while (value || n < least);
	while (n) {
		one[0] = reversed[--n];
		put(l, one);
	}
}

static void put_address(struct line *l, ULONG64 address)
{
	put(l, "0x");
	put_number(l, address, "0123456789abcdef", 16, 1);
}

/* put_base adds the last element of a path, in UTF-8. */
static void put_base(struct line *l, const struct path *p)
{
	size_t end = p->name.Length / sizeof(WCHAR), start = end;

	while (start && p->name.Buffer[start - 1] != '\\' && p->name.Buffer[start - 1] != '/')
		start--;
	if (start == end)
		put(l, "?");
	for (; start < end; start++) {
		char c[4];

		put_character(c, p->name.Buffer[start]);
		put(l, c);
	}
}

/* describe makes the line. */
static void describe(HANDLE process, const EXCEPTION_RECORD *e, struct line *l)
{
	static struct path       path;
	MEMORY_BASIC_INFORMATION memory;
	ULONG64                  at = (ULONG_PTR)e->ExceptionAddress;

	put(l, "winbox: ");
	if (NtQueryInformationProcess(process, PROCESS_IMAGE_FILE_NAME_WIN32, &path, sizeof(path), NULL))
		path.name.Length = 0;
	put_base(l, &path);
	put(l, ": ");
	put(l, exception_words(e->ExceptionCode));
	put(l, " (0x");
	put_number(l, e->ExceptionCode, "0123456789ABCDEF", 16, 8);
	put(l, ") at ");
	put_address(l, at);
	if (!NtQueryVirtualMemory(process, e->ExceptionAddress, MEMORY_MAPPED_FILE_NAME, &path, sizeof(path), NULL) &&
	    !NtQueryVirtualMemory(process, e->ExceptionAddress, MEMORY_BASIC, &memory, sizeof(memory), NULL)) {
		put(l, " in ");
		put_base(l, &path);
		put(l, "+");
		put_address(l, at - (ULONG_PTR)memory.AllocationBase);
	}
	if ((e->ExceptionCode == EXCEPTION_ACCESS_VIOLATION || e->ExceptionCode == EXCEPTION_IN_PAGE_ERROR) && e->NumberParameters >= 2) {
		ULONG_PTR how = e->ExceptionInformation[0];
		put(l, how == EXCEPTION_WRITE_FAULT ? " writing " : how == EXCEPTION_EXECUTE_FAULT ? " executing " : " reading ");
		put_address(l, e->ExceptionInformation[1]);
	}
	put(l, "\n");
}

/* say writes where Wine writes its own messages: the Unix descriptor 2, which a program without a console has as well. */
static void say(const struct line *l)
{
	int(__cdecl * write)(const char *, unsigned) = (void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "__wine_dbg_write");
	DWORD n;

	if (write)
		write(l->s, (unsigned)l->n);
	else
		WriteFile(GetStdHandle(STD_ERROR_HANDLE), l->s, (DWORD)l->n, &n, NULL);
}

/* next_number reads a decimal number of the command line. */
static ULONG_PTR next_number(const WCHAR **s)
{
	ULONG_PTR n = 0;

	while (**s == ' ')
		++*s;
	for (; **s >= '0' && **s <= '9'; ++*s)
		n = n * 10 + (**s - '0');
	return n;
}

/* await waits for the exception that nobody has handled; FALSE when the process ends before. */
static BOOL await(DWORD pid, EXCEPTION_RECORD *e)
{
	DEBUG_EVENT event;

	while (WaitForDebugEvent(&event, INFINITE)) {
		DWORD answer = DBG_CONTINUE;

		switch (event.dwDebugEventCode) {
		case EXIT_PROCESS_DEBUG_EVENT:
			return FALSE;
		case EXCEPTION_DEBUG_EVENT:
			if (event.dwProcessId == pid && !event.u.Exception.dwFirstChance) {
				*e = event.u.Exception.ExceptionRecord;
				return TRUE;
			}
			answer = DBG_EXCEPTION_NOT_HANDLED;
		}
		ContinueDebugEvent(event.dwProcessId, event.dwThreadId, answer);
	}
	return FALSE;
}

void start(void)
{
	static struct line line;
	const WCHAR       *s = GetCommandLineW();
	EXCEPTION_RECORD   record;
	HANDLE             process;

	while (*s && *s != ' ') /* the path of this program has no space */
		s++;
	DWORD  pid = (DWORD)next_number(&s);
	HANDLE event = (HANDLE)next_number(&s);

	process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, pid);
	/* DebugActiveProcess would start a thread in the process as well, to stop it. */
	if (process && !DbgUiConnectToDbg() && !NtDebugActiveProcess(process, DbgUiGetThreadDebugObject())) {
		SetEvent(event);
		if (await(pid, &record)) {
			describe(process, &record, &line);
			say(&line);
			NtTerminateProcess(process, (NTSTATUS)record.ExceptionCode);
		}
	}
	NtTerminateProcess(this_process, 0);
}
