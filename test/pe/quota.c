/*
 * Prints what it is told of memory and processors, one "name value" a line, once and again after each line of input.
 * Numbers are decimal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>
#include <psapi.h>
#include <winternl.h>

struct basic {
	DWORD unknown;
	ULONG increment, page, physical, lowest, highest, granularity;
	PVOID lowest_address, highest_address;
	ULONG_PTR affinity;
	BYTE processors;
};

/* The first fields of SYSTEM_PERFORMANCE_INFORMATION (winternl.h). */
struct performance {
	LARGE_INTEGER idle, read, write, other;
	ULONG reads, writes, others, available, committed, limit, rest[100];
};

static void line(const char *name, unsigned long long value)
{
	printf("%s %llu\n", name, value);
}

static void cores(void)
{
	SYSTEM_LOGICAL_PROCESSOR_INFORMATION *list;
	DWORD size = 0, i;
	ULONG_PTR packages = 0, in_cores = 0, nodes = 0, caches = 0;

	GetLogicalProcessorInformation(NULL, &size);
	list = malloc(size);
	GetLogicalProcessorInformation(list, &size);
	for (i = 0; i < size / sizeof(*list); i++) {
		if (list[i].Relationship == RelationProcessorCore)
			in_cores |= list[i].ProcessorMask;
		else if (list[i].Relationship == RelationProcessorPackage)
			packages |= list[i].ProcessorMask;
		else if (list[i].Relationship == RelationNumaNode)
			nodes |= list[i].ProcessorMask;
		else if (list[i].Relationship == RelationCache)
			caches |= list[i].ProcessorMask;
	}
	line("cores", in_cores);
	line("packages", packages);
	line("nodes", nodes);
	line("caches", caches & ~in_cores);
}

int main(void)
{
	MEMORYSTATUSEX status = { sizeof(status) };
	NTSTATUS(NTAPI *query)(int, void *, ULONG, ULONG *) =
		(void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtQuerySystemInformation");
	struct basic basic;
	struct performance *performance = calloc(1, 4096);
	PERFORMANCE_INFORMATION info = { sizeof(info) };
	SYSTEM_INFO system;
	char input[16], variable[16] = "";

	setvbuf(stdout, NULL, _IOFBF, 4096);
	do {
		GlobalMemoryStatusEx(&status);
		query(SystemBasicInformation, &basic, sizeof(basic), NULL);
		query(SystemPerformanceInformation, performance, 0x138, NULL);
		GetPerformanceInfo(&info, sizeof(info));
		GetSystemInfo(&system);
		GetEnvironmentVariableA("NUMBER_OF_PROCESSORS", variable, sizeof(variable));
		line("total", status.ullTotalPhys);
		line("available", status.ullAvailPhys);
		line("limit", status.ullTotalPageFile);
		line("commitable", status.ullAvailPageFile);
		line("basic.total", basic.physical * 4096ULL);
		line("basic.processors", basic.processors);
		line("performance.available", performance->available * 4096ULL);
		line("performance.limit", performance->limit * 4096ULL);
		line("performance.committed", performance->committed * 4096ULL);
		line("info.total", info.PhysicalTotal * 4096ULL);
		line("info.available", info.PhysicalAvailable * 4096ULL);
		line("info.limit", info.CommitLimit * 4096ULL);
		line("info.committed", info.CommitTotal * 4096ULL);
		line("processors", system.dwNumberOfProcessors);
		line("variable", atoi(variable));
		cores();
		printf("ready\n");
		fflush(stdout);
	} while (fgets(input, sizeof(input), stdin));
	return 0;
}
