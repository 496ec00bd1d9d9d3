/*
 * Asks the main program of a container to stop, as Windows would: process 1 of the container runs this when it gets a
 * signal (sandbox/init/init.c). The second word of the command line says how; resize is that of resize.c:
 *
 *   ctrl-c, ctrl-break       a console control event for every process of the program's console
 *   ctrl-close, ctrl-shutdown   the same; and when the program's handler has returned, it is ended, as by Windows
 *   wm-close                 WM_CLOSE for its windows, and if that is not enough WM_QUERYENDSESSION and WM_ENDSESSION
 *
 * There is one for each machine, since a thread can only be made in processes of one's own kind. The one that is started
 * runs the other for a main program of the other's machine, or, with a plus sign before the event, for the other's
 * processes of the main program's console. The exit code is ASKED when the program has been asked. Any other makes process 1
 * send the program the signal itself: 0 as well, with which a process also ends that Wine's server has got rid of.
 *
 * It imports ntdll and kernel32, which every process of Wine's loads anyway, and loads user32 only for windows.
 */
#include "processes.h"

/* Functions of ntdll.dll with one argument, in which threads are started: */
#define RAISE "__wine_ctrl_routine" /* it raises the console event; Wine's own signal handler uses it */
#define EXIT  "RtlExitUserProcess"

#ifdef _WIN64
#define MACHINE  L"amd64"
#define OTHER    L"386"
#else
#define MACHINE  L"386"
#define OTHER    L"amd64"
#endif

/* What the second one has before the event. */
#define SECOND L"+"

/* Where package wine mounts the two (wine/stop.go). */
#define PROGRAM(machine) L"\\\\?\\unix\\run\\winbox\\stop." machine L".exe"

enum {
	ASKED = 3, /* sandbox/init/init.c knows it */
	POLL_MS = 10,
	/* How long windows may take to close, and to answer: half of what engines usually wait before they kill. */
	CLOSE_MS = 2000,
	ANSWER_MS = 5000,
	/* How long a program may take to start before it is asked: less than an engine's patience. */
	START_MS = 3000,
	/* How long a program may take to end by itself when it has no choice. */
	EXIT_MS = 1000,
	/* The same, where its handlers seem to have returned. */
	DOUBT_MS = 20,
	MAX_WINDOWS = 1024,
	/* Of a section of kernelbase.dll, in words. */
	MAX_DATA = 1 << 16,
};

/* Whether a process is the main one or comes of it: what is executed in the container besides does not. */
static BOOL belongs(const struct process *p, DWORD main_id)
{
	if (p->explorer && p->id != main_id)
		return FALSE;
	for (unsigned steps = 0; p && steps < count; steps++) {
		if (p->id == main_id)
			return TRUE;
		if (!p->parent)
			return FALSE;
		p = find(p->parent);
	}
	return TRUE; /* one between has ended */
}

/* Whether a process is of the other machine. */
static BOOL is_other(HANDLE process)
{
	return !!peb_of_32(process) != IS_WOW64;
}

/* Where a process has a library that its loader has called (LDRP_PROCESS_ATTACH_CALLED); 0 when it has not. */
static ULONG_PTR module_base(HANDLE process, const WCHAR *want)
{
	PROCESS_BASIC_INFORMATION basic;
	ULONG_PTR                 at, base;
	ULONG                     flags;
	WCHAR                     name[16];
	UNICODE_STRING            string;

	if (NtQueryInformationProcess(process, ProcessBasicInformation, &basic, sizeof(basic), NULL) ||
	    !read_pointer(process, (ULONG_PTR)basic.PebBaseAddress + PEB_LDR, &at) ||
	    !read_pointer(process, at + LDR_LOAD_ORDER, &at) /* the program */)
		return 0;
	/* The system's own libraries come first. */
	for (unsigned i = 0; i < 8; i++) {
		if (ReadProcessMemory(process, (void *)(at + ENTRY_NAME), &string, sizeof(string), NULL) &&
		    string.Length == lstrlenW(want) * sizeof(WCHAR) && string.Length < sizeof(name) &&
		    ReadProcessMemory(process, string.Buffer, name, string.Length, NULL)) {
			name[string.Length / sizeof(WCHAR)] = 0;
			if (!lstrcmpiW(name, want))
				return ReadProcessMemory(process, (void *)(at + ENTRY_FLAGS), &flags, sizeof(flags), NULL) &&
						       flags & ENTRY_ATTACHED && read_pointer(process, at + ENTRY_BASE, &base) ?
					       base :
					       0;
		}
		if (!read_pointer(process, at, &at))
			return 0;
	}
	return 0;
}

/* What is known of a process that can be asked. */
struct place {
	ULONG_PTR console; /* 0: none */
	ULONG_PTR ntdll, kernelbase;
};

/*
 * FALSE when a process has not come so far that a thread can be started in it. One that begins before the loader has called the
 * libraries does so in place of the program's first one, and goes on with the program; and kernelbase.dll finds the console then.
 */
static BOOL examine(HANDLE process, struct place *to)
{
	PROCESS_BASIC_INFORMATION basic;
	ULONG_PTR                 at;

	if (!(to->ntdll = module_base(process, L"ntdll.dll")) || !(to->kernelbase = module_base(process, L"kernelbase.dll")) ||
	    NtQueryInformationProcess(process, ProcessBasicInformation, &basic, sizeof(basic), NULL))
		return FALSE;
	to->console = 0;
	if (read_pointer(process, (ULONG_PTR)basic.PebBaseAddress + PEB_PARAMETERS, &at))
		read_pointer(process, at + PARAMETERS_CONSOLE, &to->console);
	return TRUE;
}

/* Starts a thread in a function of a process's ntdll.dll, which is at base. */
static HANDLE run_in(HANDLE process, ULONG_PTR base, const char *name, ULONG arg)
{
	HMODULE   own = GetModuleHandleW(L"ntdll.dll");
	ULONG_PTR at = (ULONG_PTR)GetProcAddress(own, name);

	if (!at)
		return NULL;
	at += base - (ULONG_PTR)own;
	return CreateRemoteThread(process, NULL, 0, (LPTHREAD_START_ROUTINE)at, (void *)(ULONG_PTR)arg, 0, NULL);
}

/* Ends a process. It does so itself, as on Windows, where its libraries are told. */
static void end(HANDLE process, ULONG code)
{
	struct place place;

	if (examine(process, &place))
		run_in(process, place.ntdll, EXIT, code);
	/* No thread begins in a process that is ending by itself: its own exit code is to stay. */
	if (WaitForSingleObject(process, EXIT_MS) != WAIT_OBJECT_0)
		TerminateProcess(process, code);
}

/* ---- the main program ---- */

static struct {
	HANDLE       process;
	DWORD        id;
	struct place place;
} program;

/* Waits until the main program can be asked. FALSE when it cannot: the server reads nothing of a process with a debugger
 * from outside. */
static BOOL await_program(void)
{
	const struct process *p;

	for (unsigned waited = 0; waited < START_MS; waited += POLL_MS, Sleep(POLL_MS)) {
		if (!list_processes())
			return FALSE;
		if (!(p = find_main()))
			continue;
		if (!program.process && !(program.process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, p->id)))
			continue;
		program.id = p->id;
		if (is_other(program.process) || examine(program.process, &program.place))
			return TRUE;
	}
	return FALSE;
}

/* Runs the other one of the two with a prefix before the word, and waits for it if the exit code matters. */
static BOOL run_other(const WCHAR *prefix, const WCHAR *word, DWORD *code)
{
	STARTUPINFOW        startup = { .cb = sizeof(startup) };
	PROCESS_INFORMATION info;
	WCHAR               command[64] = L"stop ";

	lstrcatW(command, prefix);
	lstrcatW(command, word);
	if (!CreateProcessW(PROGRAM(OTHER), command, NULL, NULL, FALSE, DETACHED_PROCESS, NULL, NULL, &startup, &info))
		return FALSE;
	return !code || (WaitForSingleObject(info.hProcess, INFINITE) == WAIT_OBJECT_0 && GetExitCodeProcess(info.hProcess, code));
}

/* ---- console programs ---- */

/*
 * Raises an event in the processes of the main program's console that are of this machine. The second one of the two
 * cannot see which that is, and takes all that have one. Gives the thread in the main program, and whether there are
 * processes of the other machine.
 */
static HANDLE raise_event(DWORD event, BOOL second, BOOL *mixed)
{
	HANDLE main_thread = NULL;

	for (unsigned i = 0; i < count; i++) {
		const struct process *p = &processes[i];
		HANDLE                process, thread = NULL;
		struct place          place;

		if (p->id == GetCurrentProcessId() || !belongs(p, program.id))
			continue;
		if (!(process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, p->id)))
			continue;
		if (is_other(process))
			*mixed = TRUE;
		else if (examine(process, &place) && (second ? place.console != 0 : place.console == program.place.console))
			thread = run_in(process, place.ntdll, RAISE, event);
		CloseHandle(process);
		if (p->id == program.id)
			main_thread = thread;
		else if (thread)
			CloseHandle(thread);
	}
	return main_thread;
}

/* A node of the list of a process's handlers, as Wine's kernelbase.dll keeps it; the last one is the system's own. */
struct handler {
	PHANDLER_ROUTINE routine;
	struct handler  *next;
};

static BOOL WINAPI none(DWORD event)
{
	(void)event;
	return FALSE;
}

/*
 * Finds the node of the system's own handler in this process, of which the list is empty otherwise: it is what kernelbase's
 * list begins with, and what follows a new handler that has taken its place there.
 */
static struct handler *find_default(const UCHAR *kernelbase)
{
	static ULONG_PTR            before[MAX_DATA];
	const IMAGE_NT_HEADERS     *headers = (const void *)(kernelbase + ((const IMAGE_DOS_HEADER *)kernelbase)->e_lfanew);
	const IMAGE_SECTION_HEADER *sections = IMAGE_FIRST_SECTION(headers);
	ULONG_PTR                   base = (ULONG_PTR)kernelbase, end = base + headers->OptionalHeader.SizeOfImage;

	for (unsigned s = 0; s < headers->FileHeader.NumberOfSections; s++) {
		const ULONG_PTR *data = (const void *)(kernelbase + sections[s].VirtualAddress);
		size_t           words = sections[s].Misc.VirtualSize / sizeof(*data);

		if (!(sections[s].Characteristics & IMAGE_SCN_MEM_WRITE) || words > MAX_DATA)
			continue;
		for (size_t i = 0; i < words; i++)
			before[i] = data[i];
		if (!SetConsoleCtrlHandler(none, TRUE))
			return NULL;
		for (size_t i = 0; i < words; i++) {
			const struct handler *node = (const void *)data[i];

			if (data[i] != before[i] && before[i] > base && before[i] < end && node->routine == none &&
			    (ULONG_PTR)node->next == before[i])
				return node->next;
		}
		SetConsoleCtrlHandler(none, FALSE);
	}
	return NULL;
}

/*
 * Makes the system's own handler of a process end it with STATUS_CONTROL_C_EXIT, as on Windows. Wine's, the last one that is
 * asked, ends it with 0: who stops a program could not tell it from one that has done what it should.
 */
static void end_as_windows(HANDLE process, const struct place *at)
{
	ULONG_PTR       own = (ULONG_PTR)GetModuleHandleW(L"kernelbase.dll");
	struct handler *node = own ? find_default((const UCHAR *)own) : NULL;
	ULONG_PTR       exit = (ULONG_PTR)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), EXIT);
#ifdef _WIN64
	static UCHAR code[] = { 0xb9, 0, 0, 0, 0,                    /* mov $code, %ecx */
		                0x48, 0x83, 0xec, 0x28,              /* sub $40, %rsp */
		                0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,  /* mov $exit, %rax */
		                0xff, 0xd0 };                        /* call *%rax */
	enum { CODE_AT = 1, EXIT_AT = 11 };
#else
	static UCHAR code[] = { 0x68, 0, 0, 0, 0,   /* push $code */
		                0xb8, 0, 0, 0, 0,   /* mov $exit, %eax */
		                0xff, 0xd0 };       /* call *%eax */
	enum { CODE_AT = 1, EXIT_AT = 6 };
#endif
	UCHAR *there;

	if (!node || !exit)
		return;
	exit += at->ntdll - (ULONG_PTR)GetModuleHandleW(L"ntdll.dll");
	for (unsigned i = 0; i < sizeof(DWORD); i++)
		code[CODE_AT + i] = (UCHAR)(CONTROL_C_EXIT >> 8 * i);
	for (unsigned i = 0; i < sizeof(exit); i++)
		code[EXIT_AT + i] = (UCHAR)(exit >> 8 * i);
	there = VirtualAllocEx(process, NULL, sizeof(code), MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE);
	if (there && WriteProcessMemory(process, there, code, sizeof(code), NULL))
		WriteProcessMemory(process, (UCHAR *)node - own + at->kernelbase, &there, sizeof(there), NULL);
}

/* When the event is final, the program is ended as soon as its handler has returned. */
static int stop_console(DWORD event, const WCHAR *word, BOOL final)
{
	BOOL      mixed = FALSE;
	HANDLE    waited[] = { program.process, NULL };
	DWORD     code;

	end_as_windows(program.process, &program.place);
	waited[1] = raise_event(event, FALSE, &mixed);
	if (mixed)
		run_other(SECOND, word, NULL);
	if (!waited[1])
		return 1;
	/*
	 * The thread ends with 1 when the handlers have returned (CtrlRoutine), and with the program's exit code when it is the
	 * program that ends: then the code is to stay as it is.
	 */
	if (final && WaitForMultipleObjects(2, waited, FALSE, INFINITE) != WAIT_OBJECT_0 &&
	    !(GetExitCodeThread(waited[1], &code) &&
	      WaitForSingleObject(program.process, code == 1 ? DOUBT_MS : EXIT_MS) == WAIT_OBJECT_0))
		end(program.process, CONTROL_C_EXIT);
	return ASKED;
}

/* ---- programs with windows ---- */

static struct {
	BOOL(WINAPI *EnumWindows)(WNDENUMPROC, LPARAM);
	DWORD(WINAPI *GetWindowThreadProcessId)(HWND, DWORD *);
	HWND(WINAPI *GetWindow)(HWND, UINT);
	BOOL(WINAPI *IsWindowVisible)(HWND);
	BOOL(WINAPI *PostMessageW)(HWND, UINT, WPARAM, LPARAM);
	LRESULT(WINAPI *SendMessageTimeoutW)(HWND, UINT, WPARAM, LPARAM, UINT, UINT, DWORD_PTR *);
} user;

static BOOL load_user(void)
{
	static const char *const names[] = { "EnumWindows",     "GetWindowThreadProcessId", "GetWindow",
		                             "IsWindowVisible", "PostMessageW",             "SendMessageTimeoutW" };
	HMODULE  module = LoadLibraryW(L"user32.dll");
	FARPROC *to = (FARPROC *)&user;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!module || !(to[i] = GetProcAddress(module, names[i])))
			return FALSE;
	return TRUE;
}

static HWND     windows[MAX_WINDOWS];
static unsigned window_count;

static BOOL CALLBACK collect(HWND window, LPARAM unused)
{
	DWORD id = 0;

	(void)unused;
	user.GetWindowThreadProcessId(window, &id);
	if (window_count < MAX_WINDOWS && find(id) && belongs(find(id), program.id))
		windows[window_count++] = window;
	return TRUE;
}

/* Collects the windows of the main program and its children. */
static void list_windows(void)
{
	window_count = 0;
	if (list_processes())
		user.EnumWindows(collect, 0);
}

static int close_windows(void)
{
	unsigned  asked, posted = 0;
	DWORD_PTR agrees = TRUE, ignored;

	if (!load_user())
		return 1;
	list_windows();
	for (unsigned i = 0; i < window_count; i++)
		if (user.IsWindowVisible(windows[i]) && !user.GetWindow(windows[i], GW_OWNER))
			posted += !!user.PostMessageW(windows[i], WM_CLOSE, 0, 0);
	if (posted && WaitForSingleObject(program.process, CLOSE_MS) == WAIT_OBJECT_0)
		return ASKED;
	/* It may have asked its user something, and nobody answers. Now the session ends. */
	list_windows();
	for (asked = 0; asked < window_count && agrees; asked++)
		if (!user.SendMessageTimeoutW(windows[asked], WM_QUERYENDSESSION, 0, 0, SMTO_NORMAL, ANSWER_MS, &agrees))
			agrees = GetLastError() == ERROR_INVALID_WINDOW_HANDLE; /* it is gone, or else does not answer */
	for (unsigned i = 0; i < asked; i++)
		user.SendMessageTimeoutW(windows[i], WM_ENDSESSION, agrees, 0, SMTO_NORMAL, ANSWER_MS, &ignored);
	/* A program that refuses stays until it is killed. One without windows is not asked, as on Windows. */
	if (agrees)
		end(program.process, DBG_TERMINATE_PROCESS);
	return ASKED;
}

static const struct {
	const WCHAR *word;
	DWORD        event;
	BOOL         final;
} events[] = {
	{ L"ctrl-c", CTRL_C_EVENT, FALSE },
	{ L"ctrl-break", CTRL_BREAK_EVENT, FALSE },
	{ L"ctrl-close", CTRL_CLOSE_EVENT, TRUE },
	{ L"ctrl-shutdown", CTRL_SHUTDOWN_EVENT, TRUE },
};

static int stop(const WCHAR *word)
{
	BOOL  second, ignored;
	DWORD code = 1;

	second = *word == SECOND[0];
	word += second;
	if (!await_program())
		return 1;
	if (!second && is_other(program.process))
		return run_other(L"", word, &code) ? (int)code : 1;
	if (!lstrcmpW(word, L"wm-close"))
		return close_windows();
	for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (!lstrcmpW(word, events[i].word)) {
			if (!second)
				return stop_console(events[i].event, word, events[i].final);
			raise_event(events[i].event, TRUE, &ignored);
			return ASKED;
		}
	return 1;
}

void start(void)
{
	static const WCHAR resizes[] = L"resize ";
	const WCHAR       *words = GetCommandLineW();
	size_t             n = 0;

	while (*words && *words != ' ') /* the path of this program has no space */
		words++;
	words += *words == ' ';
	while (resizes[n] && words[n] == resizes[n])
		n++;
	ExitProcess(resizes[n] ? stop(words) : resize(words + n));
}
