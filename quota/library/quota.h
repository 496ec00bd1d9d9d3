/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the library share: the facts of the machine, the limits that winbox has written down, and the
 * memory that the container has committed.
 */
#ifndef WINBOX_QUOTA_H
#define WINBOX_QUOTA_H

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/mman.h>
#include <stddef.h>

#include "linux.h"

/* All symbols but those that take the place of the C library's are the library's own. */
#pragma GCC visibility push(hidden)

#define EXPORT __attribute__((visibility("default")))

#if defined(__x86_64__)
#define NR_MMAP __NR_mmap
#define MMAP_OFFSET(offset) (offset)
#else
/* mmap2(2) counts in pages. */
#define NR_MMAP __NR_mmap2
#define MMAP_OFFSET(offset) ((offset) / PAGE_SIZE)
#endif

#define PAGE_SIZE 4096UL
#define MiB (1ULL << 20)

#define O_RDONLY 0
#define O_RDWR 2
#define O_CREAT 0100
#define O_NOFOLLOW 0400000
#define O_CLOEXEC 02000000

/* The file of quota.Limits, which winbox writes and nobody in the container can. All numbers are little-endian. */
#define LIMITS_PATH "/run/winbox/limits"
#define LIMITS_MAGIC 0x3130544f55514257ULL /* "WBQUOT01" */
struct limits {
	u64 magic;
	u64 memory;	    /* bytes; 0: no limit */
	u64 commit;	    /* bytes of all processes together; 0: no limit */
	u64 commit_process; /* bytes of each process; 0: no limit */
	u64 cpu_quota;	    /* of processor time in a period; 0: no limit */
	u64 cpu_period;
	u64 memory_and_swap; /* not used here */
	u64 asked;	     /* for commit; NO_COUNTING: nothing is to be counted */
};
#define NO_COUNTING 0xffffffffffffffffULL

/* The limits in force, which winbox may change at any time; no limit where there is no file. */
extern const volatile struct limits *limits;

/* Maps the limits; to be called before anything else is asked. */
void find_limits(void);

/* The bytes that the container has committed, of all its processes. */
u64 committed(void);

/* Reads a small file as a string: how many bytes of it, 0 for none. */
u32 read_file(const char *path, char *text, u32 size);

/* Looks at a name that goes to the wineserver: it may be what a process says that is to become another. */
void look_for_word(const u16 *name, u32 units);

/* The variable of a process that another has become: it counts as one that was started from Unix. */
#define MAIN_SETTING "WINBOX_REGISTRY=main"

/* Tells an error of a system call as the C library does, and returns -1. */
int fail(long result);

/* A text that is put together: what is too much is left out. */
struct text {
	u32 size;
	char at[1024];
};

void add_char(struct text *t, char c);
void add_string(struct text *t, const char *s);

/* Adds a number with so many digits of a base, at least. */
void add_number(struct text *t, u64 value, u32 base, u32 digits);

/* What follows a prefix, or NULL. */
const char *after(const char *s, const char *prefix);

#pragma GCC visibility pop

/* The parts of the C library that are used. They are weak: the library must be loadable without. */
#define RTLD_NEXT ((void *)-1L)
#define RTLD_LOADED (1 | 4) /* RTLD_LAZY | RTLD_NOLOAD */
struct module {
	const char *file;
	void *base;
	const char *name;
	void *address;
};
extern int dladdr(const void *address, struct module *module) __attribute__((weak));
extern void *dlopen(const char *file, int flags) __attribute__((weak));
extern void *dlsym(void *module, const char *name) __attribute__((weak));

#endif
