/*
 * Tells a console the size of its terminal. Wine's console host reads that when it starts, and never again: the kernel's
 * SIGWINCH goes to process 1 of the container, or to the parent of a program that is executed in it, which run this.
 *
 * The processes of the console are those that have the variable WINBOX_CONSOLE with a certain value; they inherit it from
 * the first one. This attaches itself to their console, and does what a program would do to change its size.
 */
#include "processes.h"

enum {
	RETRY_MS = 20,
	/* How long the console may take to be there: the program may only just be starting. */
	PATIENCE_MS = 5000,
	/* Of a process's environment, in characters. */
	MAX_ENVIRONMENT = 1 << 16,
};

/* has says whether a process has a variable; setting is NAME=VALUE. */
static BOOL has(HANDLE process, ULONG_PTR environment, const WCHAR *setting)
{
	static WCHAR block[MAX_ENVIRONMENT];
	const ULONG_PTR page = 0x1000;
	SIZE_T       size = 0, n;
	const WCHAR *s = block;

	/* Page by page, as nothing says how long it is. */
	while (size < sizeof(block)) {
		SIZE_T want = page - (environment + size) % page;

		if (want > sizeof(block) - size)
			want = sizeof(block) - size;
		if (!ReadProcessMemory(process, (void *)(environment + size), (char *)block + size, want, &n) || n != want)
			break;
		size += want;
	}
	if (!size)
		return FALSE;
	block[size / sizeof(WCHAR) - 1] = 0;
	for (const WCHAR *end = block + size / sizeof(WCHAR); s < end && *s; s += lstrlenW(s) + 1)
		if (!lstrcmpW(s, setting))
			return TRUE;
	return FALSE;
}

/* in_console says whether a process has a console and the variable. */
static BOOL in_console(HANDLE process, const WCHAR *setting)
{
	PROCESS_BASIC_INFORMATION basic;
	ULONG_PTR                 peb = peb_of_32(process), at, console, environment;

	if (peb) {
		ULONG  parameters, values[2];
		SIZE_T n;

		return ReadProcessMemory(process, (void *)(peb + PEB_PARAMETERS32), &parameters, sizeof(parameters), &n) &&
		       ReadProcessMemory(process, (void *)(ULONG_PTR)(parameters + PARAMETERS_CONSOLE32), &values[0], sizeof(ULONG), &n) &&
		       ReadProcessMemory(process, (void *)(ULONG_PTR)(parameters + PARAMETERS_ENVIRONMENT32), &values[1], sizeof(ULONG), &n) &&
		       values[0] && has(process, values[1], setting);
	}
	return !NtQueryInformationProcess(process, ProcessBasicInformation, &basic, sizeof(basic), NULL) &&
	       read_pointer(process, (ULONG_PTR)basic.PebBaseAddress + PEB_PARAMETERS, &at) &&
	       read_pointer(process, at + PARAMETERS_CONSOLE, &console) &&
	       read_pointer(process, at + PARAMETERS_ENVIRONMENT, &environment) && has(process, environment, setting);
}

/* attach makes the console of the processes with the variable that of this one. */
static BOOL attach(const WCHAR *setting)
{
	for (unsigned waited = 0; waited < PATIENCE_MS; waited += RETRY_MS, Sleep(RETRY_MS)) {
		if (!list_processes())
			return FALSE;
		for (unsigned i = 0; i < count; i++) {
			HANDLE process = processes[i].ours ? NULL : OpenProcess(PROCESS_ALL_ACCESS, FALSE, processes[i].id);
			BOOL   found = process && in_console(process, setting) && AttachConsole(processes[i].id);

			if (process)
				CloseHandle(process);
			if (found)
				return TRUE;
		}
	}
	return FALSE;
}

static SHORT least(SHORT a, SHORT b)
{
	return a < b ? a : b;
}

static SHORT most(SHORT a, SHORT b)
{
	return a > b ? a : b;
}

/* wraps says whether the text of a row seems to go on in the next one. */
static BOOL wraps(HANDLE screen, SHORT row, SHORT columns)
{
	WCHAR end[16]; /* a blank may be the last character */
	SHORT width = least(COUNT(end), columns);
	COORD at = { columns - width, row };
	DWORD n;

	if (row < 0 || !ReadConsoleOutputCharacterW(screen, end, width, at, &n))
		return FALSE;
	while (n)
		if (end[--n] != ' ')
			return TRUE;
	return FALSE;
}

/*
 * rows_needed gives the rows that the buffer must have for a line that is being typed. Wine's console host remembers the row
 * where it began, and writes it anew from there with every key: behind the end of a buffer that is too small.
 */
static SHORT rows_needed(HANDLE screen, const CONSOLE_SCREEN_BUFFER_INFO *info, SHORT columns)
{
	HANDLE in = CreateFileW(L"CONIN$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	SHORT  first = info->dwCursorPosition.Y, last = first;
	DWORD  mode;

	if (in == INVALID_HANDLE_VALUE || !GetConsoleMode(in, &mode) || !(mode & ENABLE_ECHO_INPUT))
		return 0;
	while (wraps(screen, first - 1, info->dwSize.X))
		first--;
	while (last < info->dwSize.Y - 1 && wraps(screen, last, info->dwSize.X))
		last++;
	return most(info->dwCursorPosition.Y + 1, first + ((last - first + 1) * info->dwSize.X + columns - 1) / columns);
}

/*
 * set_size sets the window, and the buffer with it, which must never be the smaller one. It has no more rows and columns than
 * the window, unless it must: the console host draws the rows of the buffer on those of the terminal.
 */
static BOOL set_size(HANDLE screen, COORD now)
{
	CONSOLE_SCREEN_BUFFER_INFO info;
	static const COORD         origin;

	if (!GetConsoleScreenBufferInfo(screen, &info))
		return FALSE;
	COORD before = { info.srWindow.Right - info.srWindow.Left + 1, info.srWindow.Bottom - info.srWindow.Top + 1 };
	if (before.X == now.X && before.Y == now.Y)
		return TRUE;
	COORD      buffer = { now.X, most(now.Y, rows_needed(screen, &info, now.X)) };
	SHORT      row = least(info.dwCursorPosition.Y, buffer.Y - 1), above = most(0, row - now.Y + 1);
	SMALL_RECT both = { 0, 0, least(before.X, now.X) - 1, least(before.Y, now.Y) - 1 };
	SMALL_RECT window = { 0, above, now.X - 1, above + now.Y - 1 }, all = { 0, 0, buffer.X - 1, buffer.Y - 1 };
	CHAR_INFO  blank = { { L' ' }, info.wAttributes };
	if (!SetConsoleWindowInfo(screen, TRUE, &both) || !SetConsoleScreenBufferSize(screen, buffer) ||
	    !SetConsoleWindowInfo(screen, TRUE, &window))
		return FALSE;
	/* Its event tells the program of the new size, and the one before came too early for a window that has grown. */
	if (!SetConsoleScreenBufferSize(screen, buffer))
		return FALSE;
	/* The console host draws everything anew when it moves everything to where it is: the terminal has moved it. */
	return ScrollConsoleScreenBufferW(screen, &all, NULL, origin, &blank);
}

/* number reads one of SIZE_FORMAT (sandbox/init/init.c). */
static SHORT number(const WCHAR *s)
{
	int n = 0;

	while (*s >= '0' && *s <= '9')
		n = 10 * n + (*s++ - '0');
	return n > MAXSHORT ? MAXSHORT : (SHORT)n;
}

int resize(const WCHAR *arguments)
{
	WCHAR  setting[64] = L"WINBOX_CONSOLE=";
	size_t n = lstrlenW(setting);
	COORD  size;
	HANDLE screen;

	while (*arguments && *arguments != ' ' && n < COUNT(setting) - 1)
		setting[n++] = *arguments++;
	setting[n] = 0;
	if (*arguments != ' ' || !attach(setting))
		return 1;
	size.X = number(arguments + 1);
	while (*arguments && *arguments != 'x')
		arguments++;
	size.Y = *arguments ? number(arguments + 1) : 0;
	screen = CreateFileW(L"CONOUT$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	return !(size.X > 0 && size.Y > 0 && screen != INVALID_HANDLE_VALUE && set_size(screen, size));
}
