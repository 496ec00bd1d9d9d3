/*
 * commit WAY MIB [SIZE]: commits and touches memory, 1 MiB (or SIZE MiB) at a time, until it gets none or has MIB MiB.
 * Prints how many MiB it got and the last error, waits for the end of its input, and ends with 0 if it got all, else 3.
 *
 * commit four MIB: four processes do so at once, and keep what they have until all have no more.
 * commit killed MIB: one process does so and is killed, then another.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define MIB ((size_t)1 << 20)

static size_t step = MIB;
static char *reserved;
static HANDLE heap;

static DWORD WINAPI sleeper(void *begun)
{
	SetEvent(begun);
	Sleep(INFINITE);
	return 0;
}

/* operator new of a runtime of Microsoft's, which throws when there is no memory. */
#ifdef _WIN64
#define OPERATOR_NEW "??2@YAPEAX_K@Z"
#else
#define OPERATOR_NEW "??2@YAPAXI@Z"
#endif
static size_t pieces;

static LONG CALLBACK thrown(EXCEPTION_POINTERS *e)
{
	printf("%u %lx\n", (unsigned)pieces, e->ExceptionRecord->ExceptionCode);
	fflush(stdout);
	ExitProcess(3);
}

static HANDLE start(const char *way, const char *much);

/* A piece of memory by one of the ways, or NULL. */
static char *piece(const char *way, size_t n)
{
	HANDLE h;

	if (!strcmp(way, "fresh")) /* reserved and committed at once */
		return VirtualAlloc(NULL, step, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
	if (!strcmp(way, "commit")) { /* of a large range that is reserved */
		if (!reserved)
			reserved = VirtualAlloc(NULL, 1024 * MIB, MEM_RESERVE, PAGE_NOACCESS);
		return VirtualAlloc(reserved + n * step, step, MEM_COMMIT, PAGE_READWRITE);
	}
	if (!strcmp(way, "watched")) { /* of one whose writes are watched */
		if (!reserved)
			reserved = VirtualAlloc(NULL, 1024 * MIB, MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
		return VirtualAlloc(reserved + n * step, step, MEM_COMMIT, PAGE_READWRITE);
	}
	if (!strcmp(way, "heap"))
		return HeapAlloc(GetProcessHeap(), 0, step);
	if (!strcmp(way, "small")) { /* many small pieces, of a heap of their own */
		char *p = NULL;

		if (!heap)
			heap = HeapCreate(0, 0, 0);
		for (size_t i = 0; i < step; i += 1024) {
			p = HeapAlloc(heap, 0, 1000);
			if (!p)
				return NULL;
			memset(p, 1, 1000);
		}
		return p;
	}
	if (!strcmp(way, "malloc"))
		return malloc(step);
	if (!strcmp(way, "new")) {
		static void *(__cdecl *operator_new)(size_t);

		if (!operator_new) {
			operator_new = (void *)GetProcAddress(LoadLibraryA("msvcr120.dll"), OPERATOR_NEW);
			AddVectoredExceptionHandler(1, thrown);
		}
		pieces = n;
		return operator_new(step);
	}
	if (!strcmp(way, "section")) {
		h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, step, NULL);
		return h ? MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0) : NULL;
	}
	if (!strcmp(way, "view")) { /* of sections that are all there from the beginning */
		static HANDLE sections[400];

		for (size_t i = 0; i < 400 && !sections[i]; i++) {
			sections[i] = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, step, NULL);
			if (!sections[i])
				exit(2);
		}
		return MapViewOfFile(sections[n], FILE_MAP_WRITE, 0, 0, 0);
	}
	if (!strcmp(way, "untouched")) { /* one section, of a size that doubles */
		static char any;

		h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, step << n, NULL);
		if (h)
			CloseHandle(h);
		return h ? &any : NULL;
	}
	if (!strcmp(way, "file")) { /* views of a file, to read and to write by turns */
		static HANDLE file;

		if (!file) {
			file = CreateFileA("file.tmp", GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
			SetFilePointer(file, step, NULL, FILE_BEGIN);
			SetEndOfFile(file);
		}
		h = CreateFileMappingA(file, NULL, n % 2 ? PAGE_READWRITE : PAGE_READONLY, 0, 0, NULL);
		return h ? MapViewOfFile(h, n % 2 ? FILE_MAP_WRITE : FILE_MAP_READ, 0, 0, 0) : NULL;
	}
	if (!strcmp(way, "other")) { /* in another process */
		static HANDLE other;
		static char *p, any;

		if (!other) {
			HANDLE up = CreateEventA(NULL, FALSE, FALSE, "up");

			other = start("sleep", "0");
			WaitForSingleObject(up, INFINITE);
		}
		p = VirtualAllocEx(other, NULL, step, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
		if (!p) {
			DWORD error = GetLastError();

			TerminateProcess(other, 0);
			WaitForSingleObject(other, INFINITE);
			SetLastError(error);
			return NULL;
		}
		return WriteProcessMemory(other, p, &any, 1, NULL) ? &any : NULL;
	}
	if (!strcmp(way, "thread")) { /* nothing of the stack is touched */
		static char any;
		HANDLE begun = CreateEventA(NULL, FALSE, FALSE, NULL);

		h = CreateThread(NULL, step, sleeper, begun, 0, NULL);
		if (!h)
			return NULL;
		WaitForSingleObject(begun, INFINITE); /* Wine complains of threads that begin while the process ends */
		return &any;
	}
	fprintf(stderr, "no such way\n");
	exit(2);
}

/* Starts this program with other arguments. */
static HANDLE start(const char *way, const char *much)
{
	STARTUPINFOA startup = { sizeof(startup) };
	PROCESS_INFORMATION info;
	char self[MAX_PATH], command[2 * MAX_PATH];

	GetModuleFileNameA(NULL, self, sizeof(self));
	snprintf(command, sizeof(command), "\"%s\" %s %s", self, way, much);
	if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &info)) {
		printf("no process: %lu\n", GetLastError());
		exit(2);
	}
	return info.hProcess;
}

/* A process of several says that it has what it could get, and waits until it may end. */
static void in_company(void)
{
	HANDLE full = OpenSemaphoreA(SEMAPHORE_ALL_ACCESS, FALSE, "full"), done = OpenEventA(SYNCHRONIZE, FALSE, "done");

	if (!full)
		return;
	ReleaseSemaphore(full, 1, NULL);
	WaitForSingleObject(done, INFINITE);
}

static int company(const char *way, const char *much)
{
	HANDLE full = CreateSemaphoreA(NULL, 0, 8, "full"), done = CreateEventA(NULL, TRUE, FALSE, "done"), process[4];
	int i;

	if (!strcmp(way, "killed")) {
		process[0] = start("fresh", much);
		WaitForSingleObject(full, INFINITE);
		TerminateProcess(process[0], 9);
		WaitForSingleObject(process[0], INFINITE);
		SetEvent(done);
		process[0] = start("fresh", much);
		WaitForSingleObject(process[0], INFINITE);
		return 0;
	}
	for (i = 0; i < 4; i++)
		process[i] = start("fresh", much);
	for (i = 0; i < 4; i++)
		WaitForSingleObject(full, INFINITE);
	SetEvent(done);
	WaitForMultipleObjects(4, process, TRUE, INFINITE);
	return 0;
}

int main(int argc, char **argv)
{
	const char *way = argv[1];
	size_t want = atoi(argv[2]), n;
	DWORD error = 0;

	if (!strcmp(way, "four") || !strcmp(way, "killed"))
		return company(way, argv[2]);
	if (!strcmp(way, "sleep")) {
		SetEvent(OpenEventA(EVENT_MODIFY_STATE, FALSE, "up"));
		Sleep(INFINITE);
	}
	if (argc > 3)
		step = atoi(argv[3]) * MIB;
	want = want * MIB / step;
	for (n = 0; n < want; n++) {
		char *p;

		SetLastError(0);
		p = piece(way, n);
		if (!p) {
			error = GetLastError();
			break;
		}
		if (strcmp(way, "small") && strcmp(way, "thread") && strcmp(way, "other") && strcmp(way, "untouched") && strcmp(way, "file"))
			memset(p, 1, step);
	}
	printf("%u %lu\n", (unsigned)(n * (step / MIB)), error);
	fflush(stdout);
	in_company();
	getchar();
	/* The threads would be in the way of an orderly end. */
	ExitProcess(n == want ? 0 : 3);
}
