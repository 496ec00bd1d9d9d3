/*
 * Says what it sees of its own address space. Each argument is a command, NAME
 * or NAME=VALUE, carried out in turn; each prints lines of a name and hexadecimal
 * numbers. "wait" prints "ready" and waits for a line or the end of its standard
 * input, so that the memory map can be read meanwhile. "start=FILE" and
 * "repeat=N" (with the file as the next argument) start a program with the rest
 * of the arguments and wait for its end.
 */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <psapi.h>
#include <winternl.h>

#ifdef BIG
/* Makes SizeOfImage large, not the file. */
volatile char big[BIG];
#endif

/* Addresses in constants: they have relocations. */
static const char *const words[] = { "one", "two", "three" };

static void print(const char *name, int count, const uintptr_t *numbers)
{
	printf("%s", name);
	for (int i = 0; i < count; i++)
		printf(" %llx", (unsigned long long)numbers[i]);
	printf("\n");
	fflush(stdout);
}

#define PRINT(name, ...)                                                                                  \
	do {                                                                                              \
		const uintptr_t numbers[] = { __VA_ARGS__ };                                              \
		print(name, sizeof(numbers) / sizeof(numbers[0]), numbers);                               \
	} while (0)

static uintptr_t image_size(HMODULE module)
{
	const IMAGE_DOS_HEADER *dos = (const void *)module;
	const IMAGE_NT_HEADERS *nt = (const void *)((const char *)module + dos->e_lfanew);

	return nt->OptionalHeader.SizeOfImage;
}

/* The main module, and a pointer that is right only if relocations, if any, were applied. */
static void image(const char *value)
{
	HMODULE module = GetModuleHandleA(NULL);

#ifdef BIG
	big[0] = big[BIG / 2] = big[BIG - 1] = 1;
#endif
	PRINT("image", (uintptr_t)module, image_size(module), !strcmp(words[GetTickCount() % 1 + 1], "two"));
}

static void modules(const char *value)
{
	HMODULE list[200];
	DWORD size = 0;
	char name[MAX_PATH];

	EnumProcessModules(GetCurrentProcess(), list, sizeof(list), &size);
	for (DWORD i = 0; i < size / sizeof(list[0]); i++) {
		GetModuleBaseNameA(GetCurrentProcess(), list[i], name, sizeof(name));
		printf("%s ", name);
		PRINT("module", (uintptr_t)list[i], image_size(list[i]));
	}
}

/* load=NAME: a library's place, zero if it has none. */
static void load(const char *value)
{
	HMODULE module = LoadLibraryA(value);

	PRINT("loaded", (uintptr_t)module, module ? image_size(module) : GetLastError());
}

/* The process heap: handle, number of blocks, lowest and highest address of any entry. */
static void heap(const char *value)
{
	HANDLE handle = GetProcessHeap();
	PROCESS_HEAP_ENTRY entry = { 0 };
	uintptr_t blocks = 0, low = UINTPTR_MAX, high = 0;

	while (HeapWalk(handle, &entry)) {
		uintptr_t start = (uintptr_t)entry.lpData;

		if (entry.wFlags & PROCESS_HEAP_REGION)
			PRINT("heapregion", start, entry.Region.dwCommittedSize, entry.Region.dwUnCommittedSize);
		blocks += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
		if (start < low)
			low = start;
		if (start + entry.cbData > high)
			high = start + entry.cbData;
	}
	PRINT("heap", (uintptr_t)handle, blocks, low, high, GetLastError());
}

/* grow=N: allocates N MiB of the process heap in blocks of several sizes, writes to all; lowest and highest address. */
static void grow(const char *value)
{
	static const size_t sizes[] = { 40, 4000, 60000, 400000, 3000000 };
	size_t want = (size_t)atoi(value) << 20, sum = 0;
	uintptr_t low = UINTPTR_MAX, high = 0;

	for (int i = 0; sum < want; i++) {
		size_t size = sizes[i % 5];
		char *block = HeapAlloc(GetProcessHeap(), 0, size);

		if (!block)
			break;
		memset(block, i, size);
		sum += size;
		if ((uintptr_t)block < low)
			low = (uintptr_t)block;
		if ((uintptr_t)block + size > high)
			high = (uintptr_t)block + size;
	}
	PRINT("grown", sum, low, high);
}

/* The stack of the thread: its reservation, its committed part's start, its end, and an address in use. */
static void stack(const char *value)
{
	NT_TIB *tib = (NT_TIB *)NtCurrentTeb();
	MEMORY_BASIC_INFORMATION info = { 0 };

	VirtualQuery(&info, &info, sizeof(info));
	PRINT("stack", (uintptr_t)info.AllocationBase, (uintptr_t)tib->StackLimit, (uintptr_t)tib->StackBase, (uintptr_t)&info);
}

static void blocks(const char *value)
{
	PRINT("blocks", (uintptr_t)NtCurrentTeb(), (uintptr_t)NtCurrentTeb()->ProcessEnvironmentBlock);
}

/*
 * Faults are caught by a vectored handler, which notes them and goes back to
 * where the command was before.
 */
static struct {
	void *back[5];
	DWORD code;
	uintptr_t write, address, count;
} fault;

__attribute__((noinline, noreturn)) static void go_back(void)
{
	__builtin_longjmp(fault.back, 1);
}

static LONG CALLBACK on_fault(EXCEPTION_POINTERS *pointers)
{
	const EXCEPTION_RECORD *record = pointers->ExceptionRecord;

	if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION && record->ExceptionCode != EXCEPTION_STACK_OVERFLOW)
		return EXCEPTION_CONTINUE_SEARCH;
	fault.code = record->ExceptionCode;
	fault.write = record->ExceptionInformation[0];
	fault.address = record->ExceptionInformation[1];
	fault.count++;
#ifdef _WIN64
	pointers->ContextRecord->Rip = (uintptr_t)go_back;
#else
	pointers->ContextRecord->Eip = (uintptr_t)go_back;
#endif
	return EXCEPTION_CONTINUE_EXECUTION;
}

/* A call that the compiler knows nothing of: only from such a one does it expect the way back. */
__attribute__((noipa)) static void access_byte(volatile char *at, int write)
{
	if (write)
		*at = 1;
	else
		*at;
}

__attribute__((noipa)) static void touch(uintptr_t at, int write)
{
	if (!__builtin_setjmp(fault.back))
		access_byte((char *)at, write);
}

/* null: reads and writes in the lowest 64 KiB; each must fault there. */
static void null(const char *value)
{
	static const uintptr_t places[] = { 0, 8, 0x1000, 0xffff };
	MEMORY_BASIC_INFORMATION info;

	for (int i = 0; i < 8; i++) {
		fault.code = 0;
		touch(places[i / 2], i % 2);
		PRINT("null", places[i / 2], i % 2, fault.code, fault.address, fault.write);
	}
	VirtualQuery(NULL, &info, sizeof(info));
	PRINT("lowest", (uintptr_t)info.BaseAddress, info.RegionSize, info.State);
}

__attribute__((noipa)) static int recurse(int depth)
{
	volatile char frame[100];

	frame[depth % sizeof(frame)] = depth;
	return depth == INT_MAX ? 0 : recurse(depth + 1) + frame[(depth + 1) % sizeof(frame)];
}

__attribute__((noipa)) static void fill_stack(void)
{
	if (!__builtin_setjmp(fault.back))
		recurse(0);
}

/* The exception, its place, and that of the stack's reservation. */
static DWORD WINAPI overflow_here(void *name)
{
	int (*reset)(void) = (void *)GetProcAddress(LoadLibraryA("msvcrt.dll"), "_resetstkoflw");
	MEMORY_BASIC_INFORMATION info;

	for (int i = 0; i < 2; i++) {
		fault.code = 0;
		fill_stack();
		VirtualQuery(&info, &info, sizeof(info));
		PRINT(name, fault.code, fault.address, (uintptr_t)info.AllocationBase, reset());
	}
	return 0;
}

/* overflow: uses up the stack of a thread of 256 KiB and then that of the main thread, both twice. */
static void overflow(const char *value)
{
	WaitForSingleObject(CreateThread(NULL, 256 << 10, overflow_here, "overflow-thread", STACK_SIZE_PARAM_IS_A_RESERVATION, NULL), INFINITE);
	overflow_here("overflow");
}

/* All of the address space as VirtualQuery has it: base, size, allocation base, state, protection, type. */
static void query(const char *value)
{
	MEMORY_BASIC_INFORMATION info;
	char *at = NULL;
	uintptr_t count = 0;

	for (; VirtualQuery(at, &info, sizeof(info)); at += info.RegionSize, count++) {
		PRINT("region", (uintptr_t)info.BaseAddress, info.RegionSize, (uintptr_t)info.AllocationBase, info.State, info.Protect, info.Type);
		if ((uintptr_t)at + info.RegionSize < (uintptr_t)at)
			break;
	}
	PRINT("regions", count, (uintptr_t)at);
}

static void status(const char *value)
{
	MEMORYSTATUSEX memory = { sizeof(memory) };
	SYSTEM_INFO system;

	GlobalMemoryStatusEx(&memory);
	GetSystemInfo(&system);
	PRINT("status", memory.ullTotalVirtual, memory.ullAvailVirtual, (uintptr_t)system.lpMinimumApplicationAddress,
	      (uintptr_t)system.lpMaximumApplicationAddress);
}

/* KUSER_SHARED_DATA: the version of Windows, and whether the tick count runs. */
static void shared_data(const char *value)
{
	const volatile char *data = (const char *)0x7ffe0000;

	PRINT("shareddata", *(DWORD *)(data + 0x26c), *(DWORD *)(data + 0x320) != 0, *(WCHAR *)(data + 0x30));
}

/*
 * take=down or take=up: reserves until there is nothing left, the largest
 * pieces first, then gives all back. The sum, the lowest and the highest
 * address, and the number of pieces. A 64-bit program takes 64 GiB at most: Wine
 * keeps a byte for each page, and nobody has 32 GiB for those of 128 TiB.
 */
static void take(const char *value)
{
	static void *pieces[1 << 16];
	DWORD type = MEM_RESERVE | (strcmp(value, "down") ? 0 : MEM_TOP_DOWN);
	size_t most = sizeof(void *) == 8 ? 64 : sizeof(pieces) / sizeof(pieces[0]), count = 0;
	uintptr_t sum = 0, low = UINTPTR_MAX, high = 0;

	for (size_t size = 1 << 30; size >= 64 << 10; size /= 2) {
		while (count < most && (pieces[count] = VirtualAlloc(NULL, size, type, PAGE_READWRITE))) {
			uintptr_t at = (uintptr_t)pieces[count++];

			sum += size;
			if (at < low)
				low = at;
			if (at + size > high)
				high = at + size;
		}
	}
	for (size_t i = 0; i < count; i++)
		VirtualFree(pieces[i], 0, MEM_RELEASE);
	PRINT("taken", sum, low, high, count);
}

/*
 * churn=N: N rounds of taking free space below 2 GiB at the highest places there
 * are, using it, and giving it back in another order. The number of rounds and
 * of failures, the lowest and the highest place.
 */
static void churn(const char *value)
{
	enum { PIECES = 12, SIZE = 1 << 20 };
	uintptr_t place[PIECES], at = 0x7ff00000, rounds = atoi(value), failures = 0;
	MEMORY_BASIC_INFORMATION info;

	for (int i = 0; i < PIECES; at -= SIZE)
		if (VirtualQuery((void *)at, &info, sizeof(info)) && info.State == MEM_FREE && info.RegionSize >= SIZE)
			place[i++] = at;
	for (uintptr_t round = 0; round < rounds; round++) {
		for (int i = 0; i < PIECES; i++) {
			char *got = VirtualAlloc((void *)place[i], SIZE, MEM_RESERVE | (i % 2 ? MEM_COMMIT : 0), PAGE_READWRITE);

			if (got != (void *)place[i])
				failures++;
			else if (i % 2)
				got[round * 997 % SIZE] = 1;
		}
		for (int i = 0; i < PIECES; i++)
			failures += !VirtualFree((void *)place[(i * 5 + round) % PIECES], 0, MEM_RELEASE);
	}
	PRINT("churned", rounds, failures, place[PIECES - 1], place[0] + SIZE);
}

/* peek=ADDRESS: the word there; poke=ADDRESS:VALUE writes it. A fault is said. */
static void peek(const char *value)
{
	uintptr_t at = strtoull(value, NULL, 16);

	fault.code = 0;
	touch(at, 0);
	PRINT("peek", at, fault.code, fault.code ? 0 : *(volatile uintptr_t *)at);
}

static void poke(const char *value)
{
	char *rest;
	uintptr_t at = strtoull(value, &rest, 16), word = strtoull(rest + 1, NULL, 16);

	fault.code = 0;
	touch(at, 1);
	if (!fault.code)
		*(volatile uintptr_t *)at = word;
	PRINT("poke", at, fault.code);
}

static void wait(const char *value)
{
	char line[100];

	printf("ready\n");
	fflush(stdout);
	fgets(line, sizeof(line), stdin);
}

/* Starts a program and waits for its end; its exit code, or 100 and an error. */
static DWORD start(char *file, char **arguments)
{
	char command[4096];
	STARTUPINFOA startup = { sizeof(startup) };
	PROCESS_INFORMATION child;
	DWORD code = 1;
	int length = snprintf(command, sizeof(command), "\"%s\"", file);

	for (; *arguments; arguments++)
		length += snprintf(command + length, sizeof(command) - length, " %s", *arguments);
	if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &child))
		return 100 + GetLastError();
	WaitForSingleObject(child.hProcess, INFINITE);
	GetExitCodeProcess(child.hProcess, &code);
	CloseHandle(child.hProcess);
	CloseHandle(child.hThread);
	return code;
}

static const struct {
	const char *name;
	void (*run)(const char *value);
} commands[] = {
	{ "image", image },   { "modules", modules }, { "load", load }, { "heap", heap },	   { "grow", grow },
	{ "stack", stack },   { "blocks", blocks },   { "null", null }, { "overflow", overflow },  { "query", query },
	{ "status", status }, { "take", take },	      { "wait", wait }, { "shareddata", shared_data }, { "churn", churn },
	{ "peek", peek },     { "poke", poke },
};

int main(int argc, char **argv)
{
	AddVectoredExceptionHandler(1, on_fault);
	for (char **arg = argv + 1; *arg; arg++) {
		char *value = strchr(*arg, '=');
		size_t i;

		if (value)
			*value++ = 0;
		else
			value = "";
		if (!strcmp(*arg, "start"))
			return start(value, arg + 1);
		if (!strcmp(*arg, "repeat")) {
			DWORD code = 0;

			for (int n = atoi(value); n > 0 && !code; n--)
				code = start(arg[1], arg + 2);
			return code;
		}
		for (i = 0; i < sizeof(commands) / sizeof(commands[0]) && strcmp(*arg, commands[i].name); i++)
			;
		if (i == sizeof(commands) / sizeof(commands[0])) {
			fprintf(stderr, "unknown command %s\n", *arg);
			return 2;
		}
		commands[i].run(value);
	}
	return 0;
}
