/*
 * commit WAY MIB [SIZE]: commits and touches memory, 1 MiB (or SIZE MiB) at a time, until it gets none or has MIB MiB.
 * Prints how many MiB it got and the last error, waits for the end of its input, and ends with 0 if it got all, else 3.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define MIB ((size_t)1 << 20)

static size_t step = MIB;
static char *reserved;
static HANDLE heap;

static DWORD WINAPI sleeper(void *unused)
{
	Sleep(INFINITE);
	return 0;
}

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
	if (!strcmp(way, "section")) {
		h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, step, NULL);
		return h ? MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0) : NULL;
	}
	if (!strcmp(way, "thread")) { /* nothing of the stack is touched */
		static char any;

		h = CreateThread(NULL, step, sleeper, NULL, 0, NULL);
		return h ? &any : NULL;
	}
	fprintf(stderr, "no such way\n");
	exit(2);
}

int main(int argc, char **argv)
{
	const char *way = argv[1];
	size_t want = atoi(argv[2]), n;
	DWORD error = 0;

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
		if (strcmp(way, "small") && strcmp(way, "thread"))
			memset(p, 1, step);
	}
	printf("%u %lu\n", (unsigned)(n * (step / MIB)), error);
	fflush(stdout);
	getchar();
	/* The threads would be in the way of an orderly end. */
	ExitProcess(n == want ? 0 : 3);
}
