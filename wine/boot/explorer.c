/*
 * explorer.exe in system32, where Wine starts it as `explorer.exe /desktop` for the first process that needs a desktop
 * window, and waits until it is idle.
 *
 * Wine's console host needs one as soon as a key is typed: it asks the graphics driver which key makes a character. A
 * driver that shows nothing needs no explorer for that: without one, Wine makes the desktop window by itself. So this
 * ends at once when the console host has started it and the driver is the null driver. In every other case it starts
 * Wine's own explorer, which is in C:\windows as well, with the same command line.
 */
#include <windows.h>
#include <winternl.h>

NTSTATUS NTAPI NtOpenKey(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES);
NTSTATUS NTAPI NtQueryValueKey(HANDLE, PUNICODE_STRING, ULONG, PVOID, ULONG, PULONG);
NTSTATUS NTAPI RtlOpenCurrentUser(ACCESS_MASK, PHANDLE);

static const HANDLE this_process = (HANDLE)(LONG_PTR)-1;

/* ends_with compares the end of a string of n characters without case; end is in lower case. */
static BOOL ends_with(const WCHAR *s, size_t n, const WCHAR *end)
{
	size_t m = 0;

	while (end[m])
		m++;
	if (m > n)
		return FALSE;
	for (size_t i = 0; i < m; i++) {
		WCHAR c = s[n - m + i];
		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (c != end[i])
			return FALSE;
	}
	return TRUE;
}

/* by_console_host says whether the parent of this process is a console host. */
static BOOL by_console_host(void)
{
	PROCESS_BASIC_INFORMATION info;
	WCHAR                     name[MAX_PATH];
	DWORD                     n = MAX_PATH;
	BOOL                      is = FALSE;

	if (NtQueryInformationProcess(this_process, ProcessBasicInformation, &info, sizeof(info), NULL))
		return FALSE;
	HANDLE parent = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, (DWORD)info.InheritedFromUniqueProcessId);
	if (!parent)
		return FALSE;
	if (QueryFullProcessImageNameW(parent, 0, name, &n))
		is = ends_with(name, n, L"\\conhost.exe");
	CloseHandle(parent);
	return is;
}

/* null_driver says whether HKEY_CURRENT_USER\Software\Wine\Drivers has null as Graphics. */
static BOOL null_driver(void)
{
	static WCHAR      key_name[] = L"Software\\Wine\\Drivers", value_name[] = L"Graphics";
	UNICODE_STRING    key_string = { sizeof(key_name) - sizeof(WCHAR), sizeof(key_name), key_name };
	UNICODE_STRING    value_string = { sizeof(value_name) - sizeof(WCHAR), sizeof(value_name), value_name };
	OBJECT_ATTRIBUTES attr;
	HANDLE            user, key;
	BOOL              is = FALSE;
	ULONG             size;
	struct { /* KEY_VALUE_PARTIAL_INFORMATION */
		ULONG index, type, length;
		WCHAR data[64];
	} value;

	if (RtlOpenCurrentUser(KEY_READ, &user))
		return FALSE;
	InitializeObjectAttributes(&attr, &key_string, OBJ_CASE_INSENSITIVE, user, NULL);
	if (!NtOpenKey(&key, KEY_READ, &attr)) {
		static const WCHAR want[] = L"null";
		is = !NtQueryValueKey(key, &value_string, 2 /* KeyValuePartialInformation */, &value, sizeof(value), &size) &&
		     value.type == REG_SZ && value.length == sizeof(want) && ends_with(value.data, 4, want);
		NtClose(key);
	}
	NtClose(user);
	return is;
}

/* wait_idle waits until a program with windows is done with its start. Whoever does so counts as idle itself. */
static void wait_idle(const WCHAR *number)
{
	DWORD id = 0;

	while (*number >= '0' && *number <= '9')
		id = 10 * id + (*number++ - '0');
	HANDLE  program = OpenProcess(SYNCHRONIZE | PROCESS_QUERY_INFORMATION, FALSE, id);
	HMODULE user32 = LoadLibraryW(L"user32.dll");
	if (program && user32) {
		DWORD(WINAPI * wait)(HANDLE, DWORD) = (void *)GetProcAddress(user32, "WaitForInputIdle");
		if (wait)
			wait(program, 10000);
	}
}

/* run starts a program on the desktop of this one. */
static BOOL run(const WCHAR *program, WCHAR *command, PROCESS_INFORMATION *started)
{
	STARTUPINFOW startup;

	GetStartupInfoW(&startup);
	return CreateProcessW(program, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, started);
}

void start(void)
{
	static const WCHAR  self[] = L"C:\\windows\\system32\\explorer.exe", idle[] = L"explorer.exe /idle ";
	PROCESS_INFORMATION explorer, waiter;
	WCHAR              *line = GetCommandLineW(), command[64];
	size_t              n = 0;

	while (idle[n] && line[n] == idle[n])
		n++;
	if (!idle[n]) {
		wait_idle(line + n);
		ExitProcess(0);
	}
	if (by_console_host() && null_driver())
		ExitProcess(0);
	if (!run(L"C:\\windows\\explorer.exe", line, &explorer))
		ExitProcess(1);

	/* Whoever has started this one waits until it is idle, to find the desktop window then: so this must not be idle
	 * before that explorer is. Another process waits for it, because waiting counts as being idle. */
	WCHAR digits[10];
	DWORD id = explorer.dwProcessId;
	int   count = 0;
	do
		digits[count++] = L'0' + id % 10;
	while (id /= 10);
	for (n = 0; idle[n]; n++)
		command[n] = idle[n];
	while (count)
		command[n++] = digits[--count];
	command[n] = 0;
	if (run(self, command, &waiter))
		WaitForSingleObject(waiter.hProcess, INFINITE);
	ExitProcess(0);
}
