/*
 * nt.h: the part of the NT native interface that the programs of this folder use. mingw-w64's winternl.h declares most of the calls;
 * this adds what it lacks. Sources: Microsoft's ntddk.h and wdm.h (KUSER_SHARED_DATA,
 * XSTATE_CONFIGURATION, the information classes) and the names of the objects that Wine's server creates.
 */
#ifndef WINBOX_NT_H
#define WINBOX_NT_H

#include <windows.h>
#include <winternl.h>

/* Calls that the import library of ntdll has and winternl.h does not declare. */
NTSTATUS NTAPI NtOpenSection(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES);
NTSTATUS NTAPI NtMapViewOfSection(HANDLE, HANDLE, PVOID *, ULONG_PTR, SIZE_T, PLARGE_INTEGER, PSIZE_T, ULONG, ULONG, ULONG);
NTSTATUS NTAPI NtUnmapViewOfSection(HANDLE, PVOID);
NTSTATUS NTAPI NtCreateEvent(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, ULONG, BOOLEAN);
NTSTATUS NTAPI NtSetEvent(HANDLE, PLONG);
NTSTATUS NTAPI NtCreateKey(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, ULONG, PUNICODE_STRING, ULONG, PULONG);
NTSTATUS NTAPI NtOpenKey(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES);
NTSTATUS NTAPI NtSetValueKey(HANDLE, PUNICODE_STRING, ULONG, ULONG, PVOID, ULONG);
NTSTATUS NTAPI NtReadFile(HANDLE, HANDLE, PIO_APC_ROUTINE, PVOID, PIO_STATUS_BLOCK, PVOID, ULONG, PLARGE_INTEGER, PULONG);
NTSTATUS NTAPI NtQueryValueKey(HANDLE, PUNICODE_STRING, int, PVOID, ULONG, PULONG);
NTSTATUS NTAPI NtDeleteKey(HANDLE);
NTSTATUS NTAPI NtQueryAttributesFile(POBJECT_ATTRIBUTES, PVOID);
NTSTATUS NTAPI NtCreateSymbolicLinkObject(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PUNICODE_STRING);
NTSTATUS NTAPI NtGetNextThread(HANDLE, HANDLE, ACCESS_MASK, ULONG, ULONG, PHANDLE);
NTSTATUS NTAPI NtPowerInformation(POWER_INFORMATION_LEVEL, PVOID, ULONG, PVOID, ULONG);
NTSTATUS NTAPI NtSaveKey(HANDLE, HANDLE);
NTSTATUS NTAPI NtNotifyChangeKey(HANDLE, HANDLE, PIO_APC_ROUTINE, PVOID, PIO_STATUS_BLOCK, ULONG, BOOLEAN, PVOID, ULONG, BOOLEAN);
NTSTATUS NTAPI NtLoadKey(const OBJECT_ATTRIBUTES *, OBJECT_ATTRIBUTES *);
NTSTATUS NTAPI NtDelayExecution(BOOLEAN, const LARGE_INTEGER *);
NTSTATUS NTAPI RtlAdjustPrivilege(ULONG, BOOLEAN, BOOLEAN, PBOOLEAN);
NTSTATUS NTAPI NtTerminateProcess(HANDLE, NTSTATUS);
NTSTATUS NTAPI NtQueryVirtualMemory(HANDLE, LPCVOID, int, PVOID, SIZE_T, SIZE_T *);
NTSTATUS NTAPI NtDebugActiveProcess(HANDLE, HANDLE);
NTSTATUS NTAPI DbgUiConnectToDbg(void);
HANDLE NTAPI DbgUiGetThreadDebugObject(void);
NTSTATUS NTAPI NtSetInformationProcess(HANDLE, PROCESSINFOCLASS, PVOID, ULONG);
NTSTATUS NTAPI RtlGetVersion(PRTL_OSVERSIONINFOW);
NTSTATUS NTAPI RtlFormatCurrentUserKeyPath(PUNICODE_STRING);

/* A SYSTEM_INFORMATION_CLASS value that winternl.h leaves out. */
#define SYSTEM_CPU_INFORMATION_CLASS 1

/* Values that winternl.h leaves out: of PROCESSINFOCLASS, and of MEMORY_INFORMATION_CLASS. */
#define PROCESS_IMAGE_FILE_NAME_WIN32 ((PROCESSINFOCLASS)43)
#define MEMORY_BASIC 0
#define MEMORY_MAPPED_FILE_NAME 2

/* What NtQueryValueKey(KeyValuePartialInformation) returns. */
typedef struct {
	ULONG TitleIndex, Type, DataLength;
	UCHAR Data[];
} KEY_VALUE_PARTIAL_INFORMATION;
#define KEY_VALUE_PARTIAL 2

/* A PROCESSINFOCLASS value of Wine's own (winternl.h of Wine: ProcessWineMakeProcessSystem). */
#define PROCESS_MAKE_SYSTEM ((PROCESSINFOCLASS)1000)

/* What NtQueryInformationThread(ThreadBasicInformation) returns. */
typedef struct {
	NTSTATUS  ExitStatus;
	PVOID     TebBaseAddress;
	CLIENT_ID ClientId;
	ULONG_PTR AffinityMask;
	LONG      Priority, BasePriority;
} THREAD_BASIC_INFORMATION;
#define THREAD_BASIC ((THREADINFOCLASS)0)

/* What class 1 returns (SYSTEM_PROCESSOR_INFORMATION). */
struct cpu_information {
	USHORT architecture;
	USHORT level;
	USHORT revision;
	USHORT reserved;
	ULONG  feature_bits;
};

/* What class 0 returns (SYSTEM_BASIC_INFORMATION), with the names that matter here. */
struct basic_information {
	ULONG     reserved;
	ULONG     timer_resolution;
	ULONG     page_size;
	ULONG     physical_pages;
	ULONG     lowest_page, highest_page;
	ULONG     granularity;
	ULONG_PTR lowest_address, highest_address;
	ULONG_PTR affinity;
	CCHAR     processors;
};

/* What NtPowerInformation(ProcessorInformation) returns for each processor (PROCESSOR_POWER_INFORMATION). */
struct power_information {
	ULONG number, max_mhz, current_mhz, mhz_limit, max_idle_state, idle_state;
};

/* Offsets into KUSER_SHARED_DATA, which is mapped at 0x7ffe0000 in every process. */
enum {
	KUSD_TICK_MULTIPLIER   = 0x004, /* ULONG */
	KUSD_SYSTEM_ROOT       = 0x030, /* WCHAR[260] */
	KUSD_LARGE_PAGE        = 0x244, /* ULONG */
	KUSD_BUILD_NUMBER      = 0x260, /* ULONG */
	KUSD_PRODUCT_TYPE      = 0x264, /* ULONG */
	KUSD_PRODUCT_VALID     = 0x268, /* BOOLEAN */
	KUSD_ARCHITECTURE      = 0x26a, /* USHORT */
	KUSD_MAJOR_VERSION     = 0x26c, /* ULONG */
	KUSD_MINOR_VERSION     = 0x270, /* ULONG */
	KUSD_FEATURES          = 0x274, /* BOOLEAN[64] */
	KUSD_SUITE_MASK        = 0x2d0, /* ULONG */
	KUSD_NX_POLICY         = 0x2d5, /* UCHAR, the low two bits */
	KUSD_PHYSICAL_PAGES    = 0x2e8, /* ULONG */
	KUSD_PROCESSORS        = 0x3c0, /* ULONG */
	KUSD_GROUPS            = 0x3c4, /* UCHAR */
	KUSD_XSTATE            = 0x3d8, /* struct xstate */
	KUSD_SIZE              = 0x1000,
};

/* XSTATE_CONFIGURATION of ntddk.h. */
struct xstate {
	ULONG64 enabled, enabled_volatile;
	ULONG   size;
	ULONG   flags; /* bit 0: XSAVEOPT, bit 1: compaction */
	struct {
		ULONG offset, size;
	} features[64];
	ULONG64 enabled_supervisor, aligned;
	ULONG   all_size;
	ULONG   all_sizes[64];
};

#define NX_POLICY_OPT_IN 2

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const HANDLE this_process = (HANDLE)(LONG_PTR)-1;

#endif
