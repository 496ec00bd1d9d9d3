//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers what Wine asks of the machine's memory and processors with those of the container.
 *
 * Wine's ntdll takes the size of memory from sysinfo(2), what is free of it and the commit limit from /proc/meminfo, the
 * number of processors from sysconf(3), and what they are from files in /sys (dlls/ntdll/unix/virtual.c and system.c of
 * Wine 8 and 10, which agree). The functions here take the place of the C library's, which they call for the rest.
 */
#include "quota.h"

/* The parts of the C library that are used. They are weak: the library must be loadable without. */
extern int *__errno_location(void) __attribute__((weak));
extern void *fdopen(int fd, const char *mode) __attribute__((weak));

#define SC_NPROCESSORS_CONF 83
#define SC_NPROCESSORS_ONLN 84

const volatile struct limits *limits;

void add_char(struct text *t, char c)
{
	if (t->size < sizeof(t->at))
		t->at[t->size++] = c;
}

void add_string(struct text *t, const char *s)
{
	while (*s)
		add_char(t, *s++);
}

/* Divides, and leaves the remainder: for 64 bits, a 32-bit GCC would call a library that is not there. */
static u64 divide(u64 value, u32 by, u32 *rest)
{
#if defined(__i386__)
	u32 high = (u32)(value >> 32) / by, low;

	*rest = (u32)(value >> 32) % by;
	__asm__("divl %4" : "=a"(low), "=d"(*rest) : "a"((u32)value), "d"(*rest), "r"(by) : "cc");
	return (u64)high << 32 | low;
#else
	*rest = value % by;
	return value / by;
#endif
}

void add_number(struct text *t, u64 value, u32 base, u32 digits)
{
	char reversed[24];
	u32 n = 0, rest;

	do {
		value = divide(value, base, &rest);
		reversed[n++] = "0123456789abcdef"[rest];
	} while (value || n < digits);
	while (n)
		add_char(t, reversed[--n]);
}

/* A file with this text, to be read once. */
static void *text_file(const struct text *t)
{
	/* memfd_create(2): the C library reads from a descriptor. It is gone when the file is closed. */
	long fd = syscall2(__NR_memfd_create, "winbox", 1 /* MFD_CLOEXEC */);

	if (IS_ERR(fd))
		return NULL;
	syscall3(__NR_write, fd, t->at, t->size);
	syscall3(__NR_lseek, fd, 0, 0);
	return fdopen(fd, "r");
}

int fail(long result)
{
	if (__errno_location)
		*__errno_location() = -result;
	return -1;
}

u32 read_file(const char *path, char *text, u32 size)
{
	long fd = syscall3(__NR_open, path, O_RDONLY | O_CLOEXEC, 0), got;
	u32 n = 0;

	if (IS_ERR(fd))
		return 0;
	while (n < size - 1 && (got = syscall3(__NR_read, fd, text + n, size - 1 - n)) > 0)
		n += got;
	syscall1(__NR_close, fd);
	text[n] = 0;
	return n;
}

const char *after(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return NULL;
	return s;
}

static const char *parse_number(const char *s, u64 *value)
{
	*value = 0;
	while (*s >= '0' && *s <= '9')
		*value = *value * 10 + (*s++ - '0');
	return s;
}

/* The number that follows a word at the start of a line, 0 without such a line. */
static u64 field(const char *text, const char *word)
{
	u64 value = 0;

	while (*text) {
		const char *rest = after(text, word);

		if (rest && *rest == ' ') {
			parse_number(rest + 1, &value);
			return value;
		}
		while (*text && *text++ != '\n')
			;
	}
	return 0;
}

void find_limits(void)
{
	static const struct limits none;
	/* open(2), mmap(2): the limits can change while the program runs, and are looked at often. */
	long fd = syscall3(__NR_open, LIMITS_PATH, O_RDONLY | O_CLOEXEC, 0), at = -ENOENT;

	if (!IS_ERR(fd)) {
		at = syscall6(NR_MMAP, 0, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
		syscall1(__NR_close, fd);
	}
	limits = IS_ERR(at) || ((struct limits *)at)->magic != LIMITS_MAGIC ? &none : (struct limits *)at;
}

/* Where the container sees the files of its memory control group (sandbox.Options.MemoryFiles). */
#define MEMORY_FILES "/run/winbox/memory/"

/* The bytes of the container's memory that are free or can be had by dropping what files have in it. */
static u64 available(u64 total)
{
	char text[8192];
	u64 used = 0, cache;

	if (read_file(MEMORY_FILES "memory.current", text, sizeof(text))) { /* cgroup v2 */
		parse_number(text, &used);
		read_file(MEMORY_FILES "memory.stat", text, sizeof(text));
		cache = field(text, "inactive_file") + field(text, "active_file") + field(text, "slab_reclaimable");
	} else if (read_file(MEMORY_FILES "memory.usage_in_bytes", text, sizeof(text))) {
		parse_number(text, &used);
		read_file(MEMORY_FILES "memory.stat", text, sizeof(text));
		cache = field(text, "total_inactive_file") + field(text, "total_active_file");
	} else {
		used = committed();
		cache = 0;
	}
	used -= cache < used ? cache : used;
	return used < total ? total - used : 0;
}

/*
 * What /proc/meminfo says of the container. Wine takes from it only what is free, the commit limit, as memory and swap
 * together, and the commit charge, as the part of that which is not free. Numbers wrap around if the limit of commit is
 * lower than what is free, and Wine's sum is right again. Swap must not be 0: Wine would make a page of it.
 */
static void *memory_file(void)
{
	struct text t = { 0 };
	u64 total = limits->memory, limit = limits->commit ? limits->commit : total, charge = committed(), left;

	if (!total)
		return NULL;
	left = available(total);
	add_string(&t, "MemTotal: ");
	add_number(&t, (limit - PAGE_SIZE) / 1024, 10, 1);
	add_string(&t, " kB\nMemFree: ");
	add_number(&t, left / 1024, 10, 1);
	add_string(&t, " kB\nMemAvailable: ");
	add_number(&t, left / 1024, 10, 1);
	add_string(&t, " kB\nSwapTotal: 4 kB\nSwapFree: ");
	if (limit - charge < left) {
		add_char(&t, '-');
		add_number(&t, (left - (limit - charge)) / 1024, 10, 1);
	} else {
		add_number(&t, (limit - charge - left) / 1024, 10, 1);
	}
	add_string(&t, " kB\n");
	return text_file(&t);
}

#define MAX_PROCESSORS 1024

/* The processors that the program is told of: so many, and which of the machine's they are. */
static struct {
	u32 count;
	u32 fewer; /* than the machine has */
	u16 machines[MAX_PROCESSORS];
} told;

/*
 * The processors that the container may use (sched_getaffinity(2): its cpuset), and no more than it has the time of,
 * rounded up. Found once: Wine asks when a process starts.
 */
static void find_processors(void)
{
	unsigned long mask[MAX_PROCESSORS / 8 / sizeof(long)] = { 0 };
	u64 most = MAX_PROCESSORS, quota = limits->cpu_quota;
	u32 period = limits->cpu_period, rest;
	char online[256];
	u64 last = 0;
	const char *s = online;

	if (told.count)
		return;
	if (quota && period)
		most = divide(quota + period - 1, period, &rest);
	syscall3(__NR_sched_getaffinity, 0, sizeof(mask), mask);
	for (u32 i = 0; i < MAX_PROCESSORS; i++)
		if (mask[i / (8 * sizeof(long))] >> i % (8 * sizeof(long)) & 1 && told.count < most)
			told.machines[told.count++] = i;
	/* Of the machine's, the last one tells whether these are all: they have no holes but for unplugged ones. */
	if (!read_file("/sys/devices/system/cpu/online", online, sizeof(online)))
		return;
	while (*s) {
		s = parse_number(s, &last);
		while (*s && (*s < '0' || *s > '9'))
			s++;
	}
	told.fewer = told.count && told.count != last + 1;
}

/* The number that the program knows a processor of the machine's by, or -1. */
static int told_number(u32 machines)
{
	for (u32 i = 0; i < told.count; i++)
		if (told.machines[i] == machines)
			return i;
	return -1;
}

/*
 * A mask of processors with their new numbers. In the files it is in groups of 8 hexadecimal digits, the highest first,
 * with commas between.
 */
static void *mask_file(const char *path, int as_list)
{
	char text[512];
	u32 mask[MAX_PROCESSORS / 32] = { 0 }, n = read_file(path, text, sizeof(text)), bit = 0;
	struct text t = { 0 };

	if (!n)
		return NULL;
	while (n--) {
		char c = text[n];
		u32 digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;

		if (digit == 16)
			continue;
		for (u32 i = 0; i < 4; i++, bit++) {
			int number = digit >> i & 1 ? told_number(bit) : -1;

			if (number >= 0)
				mask[number / 32] |= 1U << number % 32;
		}
	}
	if (as_list) {
		for (u32 i = 0; i < told.count; i++)
			if (mask[i / 32] >> i % 32 & 1) {
				if (t.size)
					add_char(&t, ',');
				add_number(&t, i, 10, 1);
			}
	} else {
		for (int i = (told.count - 1) / 32; i >= 0; i--) {
			add_number(&t, mask[i], 16, 8);
			if (i)
				add_char(&t, ',');
		}
	}
	add_char(&t, '\n');
	return text_file(&t);
}

static int ends_with(const char *s, const char *end)
{
	u32 n = string_length(s), m = string_length(end);

	return n >= m && after(s + n - m, end) != NULL;
}

/* Copies a path with another number in it. */
static const char *renumber(struct text *t, const char *before, u64 number, const char *rest)
{
	add_string(t, before);
	add_number(t, number, 10, 1);
	add_string(t, rest);
	t->at[t->size < sizeof(t->at) ? t->size : sizeof(t->at) - 1] = 0;
	return t->at;
}

static void *(*next(const char *name))(const char *, const char *)
{
	return dlsym(RTLD_NEXT, name);
}

/* A file of /sys/devices/system: the processors that are there have the numbers from 0 on. */
static void *system_file(const char *path, const char *mode, const char *name)
{
	static const char cpu[] = "/sys/devices/system/cpu/cpu", node[] = "/sys/devices/system/node/node";
	struct text t = { 0 };
	const char *rest;
	u64 number;

	find_processors();
	if (!told.fewer)
		return next(name)(path, mode);
	if ((rest = after(path, "/sys/devices/system/cpu/")) && (ends_with(rest, "online") || ends_with(rest, "present"))) {
		add_string(&t, "0-");
		add_number(&t, told.count - 1, 10, 1);
		add_char(&t, '\n');
		/* "0-0" would do as well, but the kernel never says so. */
		if (told.count == 1)
			t = (struct text){ 2, "0\n" };
		return text_file(&t);
	}
	if ((rest = after(path, cpu))) {
		rest = parse_number(rest, &number);
		if (*rest != '/')
			return next(name)(path, mode);
		if (number >= told.count)
			return NULL;
		path = renumber(&t, cpu, told.machines[number], rest);
		if (ends_with(path, "/thread_siblings") || ends_with(path, "/shared_cpu_map"))
			return mask_file(path, 0);
		if (ends_with(path, "/thread_siblings_list")) {
			t.size -= sizeof("_list") - 1; /* the same as a mask */
			t.at[t.size] = 0;
			return mask_file(path, 1);
		}
		return next(name)(path, mode);
	}
	if (after(path, node) && ends_with(path, "/cpumap"))
		return mask_file(path, 0);
	return next(name)(path, mode);
}

static void *open_file(const char *path, const char *mode, const char *name)
{
	void *file;

	if (limits && fdopen && path[0] == '/') {
		if (path[1] == 'p' && after(path, "/proc/meminfo") && (file = memory_file()))
			return file;
		if (path[1] == 's' && after(path, "/sys/devices/system/"))
			return system_file(path, mode, name);
	}
	return next(name)(path, mode);
}

EXPORT void *fopen(const char *path, const char *mode)
{
	return open_file(path, mode, "fopen");
}

EXPORT void *fopen64(const char *path, const char *mode)
{
	return open_file(path, mode, "fopen64");
}

EXPORT long sysconf(int name)
{
	long (*real)(int) = dlsym(RTLD_NEXT, "sysconf");

	if (limits && (name == SC_NPROCESSORS_ONLN || name == SC_NPROCESSORS_CONF)) {
		find_processors();
		if (told.fewer)
			return told.count;
	}
	return real(name);
}

/* struct sysinfo (sysinfo(2)); its last fields are padding that differs. */
struct sysinfo {
	long uptime;
	unsigned long loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	u16 procs, pad;
	unsigned long totalhigh, freehigh;
	u32 mem_unit;
};

EXPORT int sysinfo(struct sysinfo *info)
{
	int (*real)(struct sysinfo *) = dlsym(RTLD_NEXT, "sysinfo");
	int result = real(info);

	/* Wine counts from the first page on, and so tells one less. */
	if (result == 0 && limits && limits->memory) {
		info->mem_unit = PAGE_SIZE;
		info->totalram = limits->memory / PAGE_SIZE + 1;
	}
	return result;
}
