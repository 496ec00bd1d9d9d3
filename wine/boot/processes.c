/* The processes of a container: see processes.h. */
#include "processes.h"

/* What class 5 returns (SYSTEM_PROCESS_INFORMATION), to where it matters. */
struct process_information {
	ULONG          next, threads;
	ULONGLONG      working_set;
	ULONG          faults, most_threads;
	ULONGLONG      cycles;
	LARGE_INTEGER  created, user, kernel;
	UNICODE_STRING name;
	ULONG          priority;
	HANDLE         id, parent;
};

struct process processes[MAX_PROCESSES];
unsigned       count;

static union {
	struct process_information first;
	UCHAR                      bytes[4 << 20];
} list;

static BOOL is_called(const UNICODE_STRING *name, const WCHAR *want)
{
	return name->Length == lstrlenW(want) * sizeof(WCHAR) && !lstrcmpiW(name->Buffer, want);
}

BOOL list_processes(void)
{
	UCHAR *at = list.bytes;

	count = 0;
	if (NtQuerySystemInformation(SystemProcessInformation, list.bytes, sizeof(list), NULL))
		return FALSE;
	for (;;) {
		struct process_information *p = (struct process_information *)at;

		if (count < MAX_PROCESSES) {
			processes[count].id = (DWORD)(ULONG_PTR)p->id;
			processes[count].parent = (DWORD)(ULONG_PTR)p->parent;
			processes[count].explorer = is_called(&p->name, L"explorer.exe");
			processes[count].boot = is_called(&p->name, L"wineboot.exe") || is_called(&p->name, L"conhost.exe");
			processes[count].ours = is_called(&p->name, L"stop.amd64.exe") || is_called(&p->name, L"stop.386.exe");
			processes[count++].created = p->created.QuadPart;
		}
		if (!p->next)
			return TRUE;
		at += p->next;
	}
}

const struct process *find(DWORD id)
{
	for (unsigned i = 0; i < count; i++)
		if (processes[i].id == id)
			return &processes[i];
	return NULL;
}

/*
 * The main program is the first process that was started from Unix, and so has no parent: process 1 started it before
 * anything else could be, and starts this only as long as that lives. Or else it is what that process has become
 * (quota/library/become.c), whose id, the first that Wine's server gives, it has as its parent's. It may only just be starting,
 * or ending. The boot program is never it, which a library starts from Unix, too (quota/library/registry.c).
 */
const struct process *find_main(void)
{
	const struct process *first = NULL;

	for (unsigned i = 0; i < count; i++) {
		const struct process *p = &processes[i];

		if (p->ours || p->boot || (p->parent != 0 && p->parent != FIRST_ID))
			continue;
		if (!first || p->created < first->created || (p->created == first->created && p->id < first->id))
			first = p;
	}
	return first;
}

BOOL read_pointer(HANDLE process, ULONG_PTR at, ULONG_PTR *to)
{
	SIZE_T n;

	return at && ReadProcessMemory(process, (void *)at, to, sizeof(*to), &n) && n == sizeof(*to) && *to;
}

ULONG_PTR peb_of_32(HANDLE process)
{
	ULONG_PTR peb = 0;

	NtQueryInformationProcess(process, ProcessWow64Information, &peb, sizeof(peb), NULL);
	return peb;
}
