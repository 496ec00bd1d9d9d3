/* The processes of a container, as the programs see them that process 1 runs (stop.c). */
#ifndef WINBOX_PROCESSES_H
#define WINBOX_PROCESSES_H

#include "nt.h"

enum { MAX_PROCESSES = 4096, FIRST_ID = 0x20 };

#ifdef _WIN64
#define IS_WOW64 FALSE
#else
#define IS_WOW64 TRUE
#endif

/* Offsets into the process environment block and what it leads to; the same in all versions of Windows. Those of a 32-bit
 * process have a 32 at the end. */
enum { PEB_PARAMETERS32 = 0x10, PARAMETERS_CONSOLE32 = 0x10, PARAMETERS_ENVIRONMENT32 = 0x48 };
#ifdef _WIN64
enum { PEB_LDR = 0x18, PEB_PARAMETERS = 0x20, LDR_LOAD_ORDER = 0x10, ENTRY_BASE = 0x30, ENTRY_NAME = 0x58, ENTRY_FLAGS = 0x68 };
enum { PARAMETERS_ENVIRONMENT = 0x80 };
#else
enum { PEB_LDR = 0x0c, PEB_PARAMETERS = PEB_PARAMETERS32, LDR_LOAD_ORDER = 0x0c, ENTRY_BASE = 0x18, ENTRY_NAME = 0x2c, ENTRY_FLAGS = 0x34 };
enum { PARAMETERS_ENVIRONMENT = PARAMETERS_ENVIRONMENT32 };
#endif
enum { PARAMETERS_CONSOLE = 0x10 };
enum { ENTRY_ATTACHED = 0x80000 }; /* LDRP_PROCESS_ATTACH_CALLED */

struct process {
	DWORD    id, parent;
	LONGLONG created;
	BOOL     explorer; /* Wine's, which a program with windows starts without knowing */
	BOOL     boot;     /* one that Wine starts for the first process: the boot program or a console host */
	BOOL     ours;     /* one that process 1 has started besides the main program */
};

/* What list_processes has found. */
extern struct process processes[MAX_PROCESSES];
extern unsigned       count;

BOOL list_processes(void);

/* These two look into the list. */
const struct process *find(DWORD id);
const struct process *find_main(void);

/* read_pointer reads one of a process's that is not NULL. */
BOOL read_pointer(HANDLE process, ULONG_PTR at, ULONG_PTR *to);

/* The address of the process environment block of a 32-bit process, for a 64-bit caller; else 0. */
ULONG_PTR peb_of_32(HANDLE process);

/* What stop.c runs for the word resize, with the words behind that (resize.c); an exit code. */
int resize(const WCHAR *arguments);

#endif
