/* SPDX-License-Identifier: Apache-2.0 */
/* What counting is shared among: the file of the counters, and the system calls of Windows' that allocate. */
#ifndef WINBOX_COMMIT_H
#define WINBOX_COMMIT_H

/*
 * The file of quota.Counters, which all processes of the container write to. Its first process makes it; zeroes are a
 * valid file. All numbers are little-endian, sizes in pages of 4 KiB, and what is charged is modulo 2^32.
 */
#define COUNTERS_PATH "/run/winbox/quota/counters"
#define MAX_SLOTS 1024
#define SLOT_BUSY 0xffffffffU /* a process id that nobody has */
struct counters {
	u32 version;  /* 1 when a process has been there */
	u32 slots;    /* so many have been in use */
	u32 charged;  /* to all processes together */
	u32 shared;   /* in use by sections of the paging file when it was last looked at */
	u32 peak;     /* the most that charged has been */
	u32 failures; /* of commits */
	u32 zero[10];
	struct slot {
		u32 pid;   /* in the container; 0: free */
		u32 start; /* when it started: field 22 of /proc/PID/stat (proc(5)) */
		u32 charged, failures;
	} slot[MAX_SLOTS];
};
#define COUNTERS_SIZE ((sizeof(struct counters) + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE)

#pragma GCC visibility push(hidden)

/* System calls of Windows' by what they do. */
enum call_kind { ALLOCATE, ALLOCATE_EX, MAP, MAP_EX, CREATE_THREAD, CREATE_SECTION, CALL_KINDS };

/* The functions of ntdll.so that carry them out; entered instead of those are the ones of calls.S. */
extern void *original[CALL_KINDS];
extern char enter_allocate[], enter_allocate_ex[], enter_map[], enter_map_ex[], enter_create_thread[],
	enter_create_section[], after_call[];

/* Functions that return STATUS_COMMITMENT_LIMIT, for six and for seven arguments. */
extern char refuse_6[], refuse_7[];

#pragma GCC visibility pop

#endif
