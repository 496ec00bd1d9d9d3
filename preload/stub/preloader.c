//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preloader LOADER [ARGUMENT]...
 *
 * Makes room for a Windows program before anything else can be in the way:
 * reserves the planned ranges, maps the ELF loader of Wine and its dynamic
 * linker as the kernel would have done, and hands over. Takes the place of
 * wine-preloader; doc.go has the protocol.
 *
 * Runs without a C library and before the dynamic linker, in two stages. The
 * second runs when the dynamic linker has finished and native libraries are
 * where they will stay: it fills the holes above the highest Windows address.
 */
#include <asm/auxvec.h>
#include <asm/fcntl.h>
#include <linux/auxvec.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/time.h>
#include <linux/uio.h>

#include "stub.h"

#ifndef AT_SYSINFO
#define AT_SYSINFO 32 /* i386 only: where system calls are made */
#endif

/* What is to be done with a range of the plan. */
enum kind {
	RESERVE, /* take it before the dynamic linker runs; Wine may map over it */
	FILL,	 /* take what is left of it when the dynamic linker is done; nobody gets it */
	CLEAR,	 /* keep the dynamic linker out of it, and give it back when that is done */
	POOL,	 /* where ELF code is to be: nothing is taken */
	SHARE,	 /* map the memory that all processes of the container share */
	STACK,	 /* move the native stack here */
	KINDS
};

struct range {
	u64 kind, start, end; /* end is the first address that does not belong to it */
};

/* The layout file. All numbers are little-endian, as is every machine the preloader knows. */
#define LAYOUT_PATH "/run/winbox/layout." MACHINE
#define LAYOUT_MAGIC "WBLAYT02"
#define LAYOUT_MAX_SIZE 4096
#define LAYOUT_HEADER_SIZE 24
#define LAYOUT_RANGE_SIZE 16
#define LAYOUT_STRICT 1 /* end rather than go on without all of a range */
#define LAYOUT_MAX_RANGES ((LAYOUT_MAX_SIZE - LAYOUT_HEADER_SIZE) / LAYOUT_RANGE_SIZE)
struct layout_file {
	char magic[8];
	u64 limit;
	u32 count;
	u32 flags; /* LAYOUT_STRICT or 0 */
	struct {
		u64 start; /* and the kind, in the bits that are zero in the address of a page */
		u64 end;
	} range[LAYOUT_MAX_RANGES];
	char excess; /* to notice a file that is too long */
};

/* The plan, kept for the second stage. There is room for the one range that the environment may add. */
static struct {
	u64 limit; /* the first address that no Windows program may get */
	u32 count;
	u32 from_file;
	u32 strict; /* so many of the ranges must be had whole */
	struct range range[LAYOUT_MAX_RANGES + 1];
} plan;

/* The memory that all processes of a container share: a file on a file system of its own, which package wine mounts. */
#define SHARED_PATH "/run/winbox/shared/heap"

/* What Wine's ntdll finds through wine_main_preload_info: ranges it may map over, up to one of size zero. */
struct preload_info {
	void *address;
	unsigned long size;
};

/*
 * Every range yields one piece, and one more for each thing that sits inside
 * a range: the stack, vdso and vvar, the preloader's own pages, and each
 * segment of the loader and the interpreter.
 */
#define MAX_PIECES (LAYOUT_MAX_RANGES + 1 + 2 * MAX_SEGMENTS + 8)
struct pieces {
	u32 count;
	struct preload_info piece[MAX_PIECES + 1];
};

static struct pieces published; /* what Wine is told of */
static struct pieces lent;	/* what the second stage gives back */

/*
 * Kept free below the stack: 8 MiB, what the stack may grow to by default,
 * and 1 MiB that the kernel wants between a growing stack and anything else
 * (stack_guard_gap). Not taken from RLIMIT_STACK, so that the layout does not
 * depend on it; Windows threads have stacks of their own. The lower end is
 * rounded down, so that it does not depend on the size of the environment.
 */
#define STACK_ROOM (9ULL << 20)
#define STACK_ROOM_ALIGN (1ULL << 20)

/* What stays empty at the start of a stack that has been moved. */
#define STACK_GUARD 0x10000

/* What a stage did. */
struct stage_report {
	u64 holes;	 /* unmapped ranges that it took */
	u64 calls;	 /* of mmap */
	u64 bytes;	 /* that it took */
	u64 nanoseconds; /* that it lasted */
};

/*
 * For whoever looks at the process from outside, at a fixed place
 * (preloader-*.ld). preload.ParseReport reads it. The magic is written
 * when the first stage is over, so that half a report is none.
 */
#define REPORT_MAGIC 0x3130545045524257ULL /* "WBREPT01" */
static struct {
	u64 magic;
	u32 stages; /* that are over */
	u32 zero;
	u64 limit;
	u64 shared_heap_start, shared_heap_end;
	struct stage_report stage[2];
} report __attribute__((section(".report")));

static u64 program_entry; /* where the second stage goes on */
static u64 kernel_stack;  /* the stack pointer that the kernel gave */
static u64 stack_room;	  /* start of what is kept free below it */

/* The stack pointer that start-*.S leaves the first stage with. */
#pragma GCC visibility push(hidden)
extern unsigned long *initial_stack;
#pragma GCC visibility pop
unsigned long *initial_stack;

/* The entry of the second stage (start-*.S), and where the preloader begins in memory (preloader-*.ld). */
#pragma GCC visibility push(hidden)
extern char second_stage[], preloader_start[];
#pragma GCC visibility pop

void die(const char *subject, const char *problem, const char *detail)
{
	const char *parts[] = { "winbox preloader: ", subject, " ", problem, detail, "\n" };
	struct iovec iov[sizeof(parts) / sizeof(parts[0])];

	for (u64 i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		iov[i].iov_base = (void *)parts[i];
		iov[i].iov_len = string_length(parts[i]);
	}
	/* writev(2): the line arrives whole, whoever else writes to standard error. */
	syscall3(__NR_writev, 2, iov, sizeof(parts) / sizeof(parts[0]));
	/* exit_group(2): there is only one thread yet, but this is what ends a process. */
	syscall1(__NR_exit_group, 1);
	__builtin_unreachable();
}

const char *error_text(long result)
{
	static char other[16];
	char *to = other + sizeof(other) - 1;
	long err = -result;

	switch (err) {
	case EACCES:
		return "permission denied";
	case EEXIST:
		return "the addresses are in use";
	case EISDIR:
		return "it is a directory";
	case ENOENT:
		return "no such file or directory";
	case ENOMEM:
		return "out of memory, or past RLIMIT_AS or vm.max_map_count";
	case EPERM:
		return "operation not permitted";
	}
	do
		*--to = '0' + err % 10;
	while (err /= 10);
	return memcpy(to - 6, "errno ", 6);
}

static char *hex_text(char *to, u64 value)
{
	int shift = 60;

	*to++ = '0';
	*to++ = 'x';
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*to++ = "0123456789abcdef"[value >> shift & 15];
	return to;
}

const char *range_text(char text[RANGE_TEXT_SIZE], u64 start, u64 end)
{
	char *to = hex_text(text, start);

	*to++ = '-';
	*hex_text(to, end) = 0;
	return text;
}

static void plan_add(u64 kind, u64 start, u64 end)
{
	plan.range[plan.count++] = (struct range){ kind, start, end };
}

static void plan_default(void)
{
	static const struct range ranges[] = { DEFAULT_RANGES };

	plan.limit = DEFAULT_LIMIT;
	for (u32 i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		plan_add(ranges[i].kind, ranges[i].start, ranges[i].end);
}

static void plan_from(const struct layout_file *l, u64 size)
{
	u64 previous = 0;

	if (size < LAYOUT_HEADER_SIZE)
		die(LAYOUT_PATH, "is shorter than its header", "");
	for (u32 i = 0; i < sizeof(l->magic); i++)
		if (l->magic[i] != LAYOUT_MAGIC[i])
			die(LAYOUT_PATH, "does not begin with " LAYOUT_MAGIC, "");
	if (l->flags & ~LAYOUT_STRICT)
		die(LAYOUT_PATH, "has flags that this preloader does not know", "");
	if (l->count > LAYOUT_MAX_RANGES || size != LAYOUT_HEADER_SIZE + l->count * LAYOUT_RANGE_SIZE)
		die(LAYOUT_PATH, "does not have the size that its number of ranges calls for", "");
	if (l->limit == 0 || l->limit % PAGE_SIZE || l->limit > USER_TOP)
		die(LAYOUT_PATH, "has a limit that is not the address of a page", "");
	plan.limit = l->limit;
	plan.from_file = 1;
	plan.strict = l->flags & LAYOUT_STRICT ? l->count : 0;
	for (u32 i = 0; i < l->count; i++) {
		u64 kind = l->range[i].start % PAGE_SIZE, start = l->range[i].start - kind, end = l->range[i].end;

		if (kind >= KINDS)
			die(LAYOUT_PATH, "has a range of a kind that this preloader does not know", "");
		if (end % PAGE_SIZE || start >= end || (kind == STACK && end - start <= 2 * STACK_GUARD))
			die(LAYOUT_PATH, "has a range that is empty or not made of whole pages", "");
		if (start < previous)
			die(LAYOUT_PATH, "has ranges that overlap or are out of order", "");
		if (end > USER_TOP || (end > plan.limit && (kind == RESERVE || kind == SHARE)))
			die(LAYOUT_PATH, "has a range above its own limit", "");
		plan_add(kind, start, end);
		previous = end;
	}
}

static void plan_read(void)
{
	struct layout_file layout;
	u64 size = 0;
	/* open(2): the plan comes in a file, because children of Wine pass here too and inherit no arguments. */
	long fd = syscall3(__NR_open, LAYOUT_PATH, O_RDONLY | O_CLOEXEC, 0), got;

	if (fd == -ENOENT) {
		plan_default();
		return;
	}
	if (IS_ERR(fd))
		die(LAYOUT_PATH, "cannot be opened: ", error_text(fd));
	do {
		/* read(2): may return less than asked for. */
		got = syscall3(__NR_read, fd, (char *)&layout + size, LAYOUT_MAX_SIZE + 1 - size);
		if (IS_ERR(got))
			die(LAYOUT_PATH, "cannot be read: ", error_text(got));
		size += got;
	} while (got && size <= LAYOUT_MAX_SIZE);
	/* close(2): the loader should inherit no descriptor of ours. */
	syscall1(__NR_close, fd);
	plan_from(&layout, size);
}

/* Reads a hexadecimal number up to the character that must end it; returns what follows, or NULL. */
static const char *hex_number(const char *s, char end, u64 *value)
{
	*value = 0;
	if (*s == end)
		return NULL;
	for (; *s != end; s++) {
		u32 digit;

		if (*s >= '0' && *s <= '9')
			digit = *s - '0';
		else if ((*s | 0x20) >= 'a' && (*s | 0x20) <= 'f')
			digit = (*s | 0x20) - 'a' + 10;
		else
			return NULL;
		*value = *value << 4 | digit;
	}
	return s + 1;
}

/*
 * WINEPRELOADRESERVE=start-end: Wine sets it for the processes it starts, to
 * where the main image wants to be. An empty range means that it wants nothing.
 */
static void plan_add_image(const char *value)
{
	u64 start, end;
	const char *rest = hex_number(value, '-', &start);

	if (!rest || !hex_number(rest, 0, &end))
		die("WINEPRELOADRESERVE", "is not START-END in hexadecimal", "");
	if (end > plan.limit)
		end = plan.limit;
	start = ALIGN_DOWN(start, PAGE_SIZE);
	end = ALIGN_UP(end, PAGE_SIZE);
	if (start < end)
		plan_add(RESERVE, start, end);
}

/*
 * Whether every page is mapped already. msync(2) with MS_ASYNC does nothing
 * but say so: it fails with ENOMEM when there is a hole.
 */
static int all_mapped(u64 start, u64 end)
{
	return syscall3(__NR_msync, start, end - start, MS_ASYNC) == 0;
}

/* Adds what was taken to a list, joined with what it touches; the list stays in ascending order. */
static void add_piece(struct pieces *list, u64 start, u64 end)
{
	u32 first = 0, last;

	while (first < list->count && ADDRESS(list->piece[first].address) + list->piece[first].size < start)
		first++;
	for (last = first; last < list->count && ADDRESS(list->piece[last].address) <= end; last++) {
		const struct preload_info *piece = &list->piece[last];

		if (ADDRESS(piece->address) < start)
			start = ADDRESS(piece->address);
		if (ADDRESS(piece->address) + piece->size > end)
			end = ADDRESS(piece->address) + piece->size;
	}
	if (last == first) {
		if (list->count == MAX_PIECES)
			die(LAYOUT_PATH, "has ranges with too much in them already", "");
		for (u32 i = list->count; i > first; i--)
			list->piece[i] = list->piece[i - 1];
	} else {
		for (u32 i = last; i < list->count; i++)
			list->piece[first + 1 + i - last] = list->piece[i];
	}
	list->count += first + 1 - last;
	list->piece[first] = (struct preload_info){ POINTER(start), end - start };
	list->piece[list->count].size = 0;
}

static u64 nanoseconds(void)
{
	struct __kernel_old_timespec now = { 0 };

	/* clock_gettime(2): the time that a stage takes is part of the report. Where it is refused, the time is 0. */
	syscall2(__NR_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* The stage that is under way, and where the last hole that it took ends: what touches it is the same hole. */
static struct stage_report *stage;
static u64 last_end;

static void stage_begin(void)
{
	stage = &report.stage[report.stages];
	stage->nanoseconds = -nanoseconds();
	last_end = 0;
}

static void stage_end(void)
{
	stage->nanoseconds += nanoseconds();
	report.stages++;
}

static void count_taken(u64 start, u64 end)
{
	stage->holes += start != last_end;
	stage->bytes += end - start;
	last_end = end;
}

__attribute__((noreturn)) static void cannot_reserve(u64 start, u64 end, long err)
{
	char text[RANGE_TEXT_SIZE];

	die(range_text(text, start, end), "cannot be reserved: ",
	    err == -EPERM || err == -EACCES ? "permission denied (see sysctl vm.mmap_min_addr, or SELinux's mmap_zero)" :
					      error_text(err));
}

/* The range that is being taken ends the process if something is there already. */
static u32 must_be_whole;

/*
 * Takes the free parts of a range out of circulation. Halves the range until
 * a half is free or full. What was taken is added to a list if there is one.
 */
static void reserve(u64 start, u64 end, struct pieces *list)
{
	unsigned long got;
	u64 middle;
	long err;

	if (start >= end)
		return;
	/*
	 * mmap(2): PROT_NONE and MAP_NORESERVE cost address space only.
	 * MAP_FIXED_NOREPLACE fails where something is mapped already.
	 */
	got = map(start, end - start, PROT_NONE, MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stage->calls++;
	if (got == start) {
		if (list != &lent)
			count_taken(start, end);
		if (list)
			add_piece(list, start, end);
		return;
	}
	err = got;
	if (!IS_ERR(got)) {
		/* munmap(2): a kernel before 4.17 does not know the flag and mapped somewhere else. */
		syscall2(__NR_munmap, got, end - start);
		err = -EEXIST;
	}
	/*
	 * EPERM or EACCES: some of it is below vm.mmap_min_addr, or forbidden by SELinux. A plan knows what the kernel
	 * gives; without one, or for an image that nobody has planned, what can be had is taken.
	 */
	if (err != -EEXIST && ((err != -EPERM && err != -EACCES) || (plan.from_file && list == &published)))
		cannot_reserve(start, end, err);
	if (end - start == PAGE_SIZE || (err == -EEXIST && all_mapped(start, end))) {
		if (must_be_whole)
			cannot_reserve(start, end, err);
		return;
	}
	middle = start + ALIGN_DOWN((end - start) / 2, PAGE_SIZE);
	reserve(start, middle, list);
	reserve(middle, end, list);
}

/* The same, but leaves the room for the stack alone. */
static void reserve_around_stack(const struct range *r, struct pieces *list)
{
	u64 room_end = ALIGN_DOWN(kernel_stack, PAGE_SIZE);

	if (must_be_whole && r->start < room_end && stack_room < r->end)
		cannot_reserve(r->start, r->end, -EEXIST);
	if (r->start < stack_room)
		reserve(r->start, r->end < stack_room ? r->end : stack_room, list);
	reserve(r->start > room_end ? r->start : room_end, r->end, list);
}

/* Does that with all ranges of a kind. */
static void reserve_kind(u64 kind, struct pieces *list)
{
	for (u32 i = 0; i < plan.count; i++) {
		if (plan.range[i].kind != kind)
			continue;
		/* What the environment adds is mostly in a range that has been taken already. */
		must_be_whole = kind == RESERVE && i < plan.strict;
		reserve_around_stack(&plan.range[i], list);
	}
	must_be_whole = 0;
}

/*
 * Maps the memory that the processes of the container share. Whoever comes
 * first makes the file. A process that makes it shorter later, or replaces it,
 * harms only its own container: all of them run as the same user and could
 * write to each other's memory as well.
 */
static void map_shared(const struct range *r)
{
	u64 size = r->end - r->start;
	char text[RANGE_TEXT_SIZE];
	unsigned long got;
	long fd, err;

	/* open(2): not by a link, and without waiting should somebody have put a FIFO there. */
	fd = syscall3(__NR_open, SHARED_PATH, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (IS_ERR(fd))
		die(SHARED_PATH, "cannot be opened: ", error_text(fd));
	/* ftruncate(2): the same size from everybody. The pages are made when they are touched. */
	err = syscall6(NR_FTRUNCATE, fd, OFFSET(size), 0, 0, 0);
	if (IS_ERR(err))
		die(SHARED_PATH, "cannot be made as large as the plan says: ", error_text(err));
	/* mmap(2): before the reservations, so that the range is this memory or the program does not start. */
	got = map(r->start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	if (got != r->start)
		die(range_text(text, r->start, r->end), "cannot be mapped for the shared heap: ",
		    error_text(IS_ERR(got) ? (long)got : -EEXIST));
	/* close(2): the mapping stays. */
	syscall1(__NR_close, fd);
	report.shared_heap_start = r->start;
	report.shared_heap_end = r->end;
}

/*
 * Whether the kernel's own choice for a mapping is outside the pool that the
 * plan has for ELF code: so with the legacy layout, an unlimited stack, or
 * randomisation.
 */
static int native_code_astray(void)
{
	unsigned long got;
	u32 pools = 0;

	/* mmap(2), munmap(2): the choice is seen by asking for it. */
	got = map(0, PAGE_SIZE, PROT_NONE, MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (IS_ERR(got))
		return 0;
	syscall2(__NR_munmap, got, PAGE_SIZE);
	for (u32 i = 0; i < plan.count; i++) {
		if (plan.range[i].kind != POOL)
			continue;
		if (got >= plan.range[i].start && got < plan.range[i].end)
			return 0;
		pools++;
	}
	return pools != 0;
}

/*
 * With a stack of more than 8 MiB the kernel keeps as much free for it and
 * starts its mappings lower: with an unlimited one, where Windows programs
 * have their memory. That is decided at execve, so it takes another one. The
 * stack of a Windows program is not this one.
 */
static void start_again_with_less_stack(char **argv, char **env)
{
	struct rlimit64 limit;

	if (!native_code_astray())
		return;
	/* prlimit64(2), execve(2): what cannot be changed is lived with, as are the other reasons for such a layout. */
	if (IS_ERR(syscall4(__NR_prlimit64, 0, RLIMIT_STACK, NULL, &limit)) || limit.rlim_cur <= _STK_LIM)
		return;
	limit.rlim_cur = _STK_LIM;
	if (!IS_ERR(syscall4(__NR_prlimit64, 0, RLIMIT_STACK, &limit, NULL)))
		syscall3(__NR_execve, "/proc/self/exe", argv, env);
}

static int overlaps_plan(u64 start, u64 end)
{
	for (u32 i = 0; i < plan.count; i++)
		if (plan.range[i].kind != POOL && plan.range[i].start < end && start < plan.range[i].end)
			return i + 1;
	return 0;
}

/*
 * Finds a place for something that may go anywhere: below the last one (or
 * the preloader), with an unmapped gap of at least 64 KiB, and outside all
 * planned ranges.
 */
static u64 place(const char *what, u64 size, u64 align, u64 *below)
{
	u64 start = ALIGN_DOWN(*below - 0x10000 - size, align);
	int hit;

	while (start < *below && (hit = overlaps_plan(start, start + size)))
		start = ALIGN_DOWN(plan.range[hit - 1].start - size, align);
	if (start >= *below)
		die(what, "does not fit between the planned ranges", "");
	*below = start;
	return start;
}

/* Maps an image in such a place, or, when it may not move, where it was linked. */
static void load(struct image *img, u64 *below)
{
	u64 linked = ALIGN_DOWN(img->start, img->align);

	if (image_moves(img))
		image_map(img, place(img->path, img->end - linked, img->align, below) - linked);
	else
		image_map(img, 0);
}

/* An entry of the auxiliary vector, or NULL. */
static unsigned long *aux_entry(unsigned long *auxv, unsigned long type)
{
	for (; auxv[0] != AT_NULL; auxv += 2)
		if (auxv[0] == type)
			return auxv;
	return NULL;
}

/*
 * Moves the vdso and the pages of its data out of a planned range. In a 32-bit
 * process the kernel puts them where it puts everything, which with the legacy
 * layout is in the middle of what Windows programs use. If the kernel does not
 * let them go they are removed: the C library then makes system calls instead.
 */
static void move_vdso(unsigned long *auxv, u64 *below)
{
	unsigned long *entry = aux_entry(auxv, AT_SYSINFO_EHDR), *sysinfo = aux_entry(auxv, AT_SYSINFO), got = 0;
	u64 start, end, to, from, size;

	if (!entry || !overlaps_plan(entry[1], entry[1] + PAGE_SIZE))
		return;
	/* All that is mapped without a gap around it belongs to it: nothing else is there so early. */
	for (start = entry[1]; start > PAGE_SIZE && all_mapped(start - PAGE_SIZE, start);)
		start -= PAGE_SIZE;
	for (end = entry[1] + PAGE_SIZE; end < USER_TOP && all_mapped(end, end + PAGE_SIZE);)
		end += PAGE_SIZE;
	to = place("vdso", end - start, PAGE_SIZE, below);
	for (from = start; from < end; from += size) {
		/* mremap(2): moves a mapping only as a whole, so its size is the first one that works. */
		for (size = PAGE_SIZE; size <= end - from; size += PAGE_SIZE) {
			got = syscall5(__NR_mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to + (from - start));
			if (!IS_ERR(got))
				break;
		}
		if (IS_ERR(got))
			break;
	}
	if (from < end) {
		/* munmap(2): what has moved, and what has not. */
		syscall2(__NR_munmap, start, end - start);
		syscall2(__NR_munmap, to, end - start);
		entry[0] = AT_IGNORE;
		if (sysinfo)
			sysinfo[0] = AT_IGNORE;
		return;
	}
	entry[1] += to - start;
	if (sysinfo)
		sysinfo[1] += to - start;
}

/*
 * Makes /proc/PID/cmdline and comm (proc(5)) show the loader and its
 * arguments. The argument strings lie one after the other; they move down
 * over the preloader's name.
 */
static void take_name(char **argv)
{
	char *to = argv[0], *from = argv[1], *end = NULL, *name;

	for (char **arg = argv + 1; *arg; arg++)
		end = *arg + string_length(*arg) + 1;
	for (char **arg = argv + 1; *arg; arg++)
		*arg -= from - to;
	while (from < end)
		*to++ = *from++;
	memset(to, 0, end - to);
	name = argv[1];
	for (char *c = name; *c; c++)
		if (c[0] == '/' && c[1])
			name = c + 1;
	/* prctl(2): the name that execve gave is the preloader's. */
	syscall2(__NR_prctl, PR_SET_NAME, name);
}

/* Moves argv, environment and auxiliary vector down over argv[0]; the stack pointer stays, and with it its alignment. */
static void drop_first_argument(unsigned long *stack, unsigned long *end)
{
	stack[0]--;
	for (unsigned long *word = stack + 1; word + 1 < end; word++)
		word[0] = word[1];
}

/* The library that is to be in every process before any other, where the container has one. */
#define LIBRARY_PATH "/run/winbox/quota." MACHINE ".so"

/* The word of the environment that names the library, and what the second stage makes of it: see insert_library. */
static struct {
	unsigned long *word, before;
} library;

/*
 * Has the dynamic linker load the library first (ld.so(8), LD_PRELOAD). It takes the name from the environment, from which
 * the second stage removes it: no program is to see it. Takes the first argument out as drop_first_argument does; the word
 * that is free then is for the variable, unless there is one of that name already.
 */
static void insert_library(unsigned long *stack, unsigned long *env, unsigned long *auxv)
{
	static const char name[] = "LD_PRELOAD=", alone[] = "LD_PRELOAD=" LIBRARY_PATH;
	static char setting[PATH_MAX];

	memcpy(setting, alone, sizeof(alone));
	for (; *env; env++) {
		char *s = (char *)*env;
		u64 i = 0, size;

		while (name[i] && s[i] == name[i])
			i++;
		size = string_length(s + i);
		if (name[i] || size >= sizeof(setting) - sizeof(alone))
			continue;
		setting[sizeof(alone) - 1] = ':';
		memcpy(setting + sizeof(alone), s + i, size + 1);
		library.before = *env;
		library.word = env - 1;
		*env = ADDRESS(setting);
		return;
	}
	stack[0]--;
	for (unsigned long *word = stack + 1; word + 2 < auxv; word++)
		word[0] = word[1];
	library.word = auxv - 2;
	*library.word = ADDRESS(setting);
}

/*
 * Gives the program its stack where the plan has one: a mapping as large as
 * the range, but for 64 KiB at its start that nobody can touch, at whose end the words of the kernel's stack are copied. The
 * strings that they point to stay where they are, and with them what /proc
 * shows. doc.go says what for. Returns the stack pointer.
 */
static unsigned long *move_stack(unsigned long *stack, const unsigned long *end)
{
	char text[RANGE_TEXT_SIZE];

	for (u32 i = 0; i < plan.count; i++) {
		const struct range *r = &plan.range[i];
		u64 size = (const char *)end - (const char *)stack;
		unsigned long got;

		if (r->kind != STACK)
			continue;
		if (size > (r->end - r->start) / 2)
			die("the arguments and the environment", "are too many for the native stack", "");
		reserve(r->start, r->start + STACK_GUARD, NULL);
		/* mmap(2): pages come when they are used. */
		got = map(r->start + STACK_GUARD, r->end - r->start - STACK_GUARD, PROT_READ | PROT_WRITE,
			  MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_STACK | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (got != r->start + STACK_GUARD)
			die(range_text(text, r->start, r->end), "cannot be had for the native stack: ",
			    error_text(IS_ERR(got) ? (long)got : -EEXIST));
		return memcpy(POINTER(ALIGN_DOWN(r->end - size, 16)), stack, size);
	}
	return stack;
}

/*
 * Tells the dynamic linker about the loader instead of the preloader
 * (getauxval(3)). The kernel supplies all of these entries. The vdso and all
 * others stay as they are.
 */
static void describe(unsigned long *auxv, const struct image *loader, u64 interpreter_base, u64 entry, const char *path)
{
	for (; auxv[0] != AT_NULL; auxv += 2) {
		switch (auxv[0]) {
		case AT_PHDR:
			auxv[1] = image_headers(loader);
			break;
		case AT_PHENT:
			auxv[1] = sizeof(elf_segment);
			break;
		case AT_PHNUM:
			auxv[1] = loader->header.e_phnum;
			break;
		case AT_BASE:
			auxv[1] = interpreter_base;
			break;
		case AT_ENTRY:
			auxv[1] = entry;
			break;
		case AT_EXECFN:
			auxv[1] = ADDRESS(path);
			break;
		}
	}
}

/* The second stage; returns where the program begins. The name is start-*.S's. */
unsigned long fill_above_limit(void)
{
	if (library.word)
		*library.word = library.before;
	stage_begin();
	for (u32 i = 0; i < lent.count; i++)
		/* munmap(2): large allocations of the program, and of native code, may have it from now on. */
		syscall2(__NR_munmap, lent.piece[i].address, lent.piece[i].size);
	reserve_kind(FILL, NULL);
	stage_end();
	return program_entry;
}

/* The first stage; returns where to go on. stack is as the kernel left it: argc, argv, environment, auxv. */
unsigned long preload(unsigned long *stack)
{
	static const char reserve_name[] = "WINEPRELOADRESERVE=";
	char **argv = (char **)stack + 1, **env, *image_range = NULL, interpreter_path[PATH_MAX];
	struct image loader, interpreter;
	unsigned long *auxv, *auxv_end;
	u64 below = ADDRESS(preloader_start), entry;
	struct preload_info **info;
	int dynamic;

	if (stack[0] < 2)
		die("usage:", "preloader LOADER [ARGUMENT]...", "");
	plan_read();
	start_again_with_less_stack(argv, argv + stack[0] + 1);
	take_name(argv);
	for (env = argv + stack[0] + 1; *env; env++) {
		u64 i = 0;

		while (reserve_name[i] && (*env)[i] == reserve_name[i])
			i++;
		if (!reserve_name[i])
			image_range = *env + i;
	}
	auxv = (unsigned long *)(env + 1);
	for (auxv_end = auxv; auxv_end[0] != AT_NULL; auxv_end += 2)
		;
	auxv_end += 2;

	if (image_range)
		plan_add_image(image_range);
	kernel_stack = ADDRESS(stack);
	stack_room = ALIGN_DOWN(kernel_stack - STACK_ROOM, STACK_ROOM_ALIGN);

	/* The loader comes before the reservations: one that cannot move must get its place even inside a range. */
	image_open(&loader, argv[1]);
	dynamic = image_interpreter(&loader, interpreter_path);
	load(&loader, &below);
	entry = program_entry = loader.bias + loader.header.e_entry;
	if (dynamic) {
		image_open(&interpreter, interpreter_path);
		load(&interpreter, &below);
		entry = interpreter.bias + interpreter.header.e_entry;
		describe(auxv, &loader, interpreter.bias, ADDRESS(second_stage), argv[1]);
	} else {
		describe(auxv, &loader, 0, program_entry, argv[1]);
	}

	report.limit = plan.limit;
	stage_begin();
	move_vdso(auxv, &below);
	for (u32 i = 0; i < plan.count; i++)
		if (plan.range[i].kind == SHARE)
			map_shared(&plan.range[i]);
	reserve_kind(RESERVE, &published);
	if (dynamic && native_code_astray()) {
		reserve_kind(FILL, NULL);
		reserve_kind(CLEAR, &lent);
	}
	stage_end();
	report.magic = REPORT_MAGIC;
	/* A loader of another kind does without; Wine's reads the list when it sets up its address space. */
	info = image_variable(&loader, "wine_main_preload_info", sizeof(*info));
	if (info)
		*info = published.piece;

	/* Without a dynamic linker there is nothing to wait for. */
	if (!dynamic)
		fill_above_limit();
	/* access(2): a container that is told nothing has no library. */
	if (dynamic && !IS_ERR(syscall2(__NR_access, LIBRARY_PATH, 0)))
		insert_library(stack, (unsigned long *)argv + stack[0] + 1, auxv);
	if (!library.word || library.before) {
		drop_first_argument(stack, auxv_end);
		auxv_end--;
	}
	initial_stack = move_stack(stack, auxv_end);
	if (library.word)
		library.word = initial_stack + (library.word - stack);
	return entry;
}
