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
#include <asm/fcntl.h>
#include <linux/auxvec.h>
#include <linux/prctl.h>
#include <linux/time.h>
#include <linux/uio.h>

#include "stub.h"

struct range {
	u64 start, end; /* end is the first address that does not belong to it */
};

/* The layout file. All numbers are little-endian, as is every machine the preloader knows. */
#define LAYOUT_PATH "/run/winbox/layout"
#define LAYOUT_MAGIC "WBLAYT01"
#define LAYOUT_MAX_SIZE 4096
#define LAYOUT_HEADER_SIZE 24
#define LAYOUT_MAX_RANGES ((LAYOUT_MAX_SIZE - LAYOUT_HEADER_SIZE) / sizeof(struct range))

/* The layout as the file has it, with room for the one range that the environment may add. */
struct layout {
	char magic[8];
	u64 limit; /* the first address that no Windows program may get */
	u32 count;
	u32 flags;
	struct range range[LAYOUT_MAX_RANGES + 1];
};

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
static struct preload_info pieces[MAX_PIECES + 1];
static u32 piece_count;

/*
 * Kept free below the stack: 8 MiB, what the stack may grow to by default,
 * and 1 MiB that the kernel wants between a growing stack and anything else
 * (stack_guard_gap). Not taken from RLIMIT_STACK, so that the layout does not
 * depend on it; Windows threads have stacks of their own. The lower end is
 * rounded down, so that it does not depend on the size of the environment.
 */
#define STACK_ROOM (9ULL << 20)
#define STACK_ROOM_ALIGN (1ULL << 20)

/* What a stage did. */
struct stage_report {
	u64 holes;	 /* unmapped ranges that it took */
	u64 calls;	 /* of mmap */
	u64 bytes;	 /* that it took */
	u64 nanoseconds; /* that it lasted */
};

/*
 * For whoever looks at the process from outside, at a fixed place
 * (preloader-*.ld). The form is documented in doc.go. The magic is written
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

/* What the second stage needs of the first. */
static struct {
	u64 entry;	/* where the program begins */
	u64 limit;	/* where the filler begins */
	u64 stack_room; /* start of what is kept free for the stack */
} second;

/* The entry of the second stage (start-amd64.S), and where the preloader begins in memory (preloader-amd64.ld). */
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

/* Adds a range and joins it with those it touches; the list stays in ascending order. */
static void layout_add(struct layout *l, struct range add)
{
	u32 first = 0, last, i;

	while (first < l->count && l->range[first].end < add.start)
		first++;
	for (last = first; last < l->count && l->range[last].start <= add.end; last++) {
		if (l->range[last].start < add.start)
			add.start = l->range[last].start;
		if (l->range[last].end > add.end)
			add.end = l->range[last].end;
	}
	if (last == first)
		for (i = l->count; i > first; i--)
			l->range[i] = l->range[i - 1];
	else
		for (i = last; i < l->count; i++)
			l->range[first + 1 + i - last] = l->range[i];
	l->range[first] = add;
	l->count += first + 1 - last;
}

static void layout_default(struct layout *l)
{
	static const struct range ranges[] = { DEFAULT_RANGES };

	l->limit = DEFAULT_LIMIT;
	for (l->count = 0; l->count < sizeof(ranges) / sizeof(ranges[0]); l->count++)
		l->range[l->count] = ranges[l->count];
}

static void layout_check(const struct layout *l, u64 size)
{
	u64 previous = 0;

	if (size < LAYOUT_HEADER_SIZE)
		die(LAYOUT_PATH, "is shorter than its header", "");
	for (u32 i = 0; i < sizeof(l->magic); i++)
		if (l->magic[i] != LAYOUT_MAGIC[i])
			die(LAYOUT_PATH, "does not begin with " LAYOUT_MAGIC, "");
	if (l->flags != 0)
		die(LAYOUT_PATH, "has flags that this preloader does not know", "");
	if (l->count > LAYOUT_MAX_RANGES || size != LAYOUT_HEADER_SIZE + l->count * sizeof(struct range))
		die(LAYOUT_PATH, "does not have the size that its number of ranges calls for", "");
	if (l->limit == 0 || l->limit % PAGE_SIZE || l->limit > USER_TOP)
		die(LAYOUT_PATH, "has a limit that is not the address of a page", "");
	for (u32 i = 0; i < l->count; i++) {
		const struct range *r = &l->range[i];

		if (r->start % PAGE_SIZE || r->end % PAGE_SIZE || r->start >= r->end)
			die(LAYOUT_PATH, "has a range that is empty or not made of whole pages", "");
		if (r->start < previous)
			die(LAYOUT_PATH, "has ranges that overlap or are out of order", "");
		if (r->end > l->limit)
			die(LAYOUT_PATH, "has a range above its own limit", "");
		previous = r->end;
	}
}

static void layout_read(struct layout *l)
{
	/* One byte more than allowed, to notice a file that is too long. */
	const u64 want = LAYOUT_HEADER_SIZE + LAYOUT_MAX_RANGES * sizeof(struct range) + 1;
	u64 size = 0;
	/* open(2): the plan comes in a file, because children of Wine pass here too and inherit no arguments. */
	long fd = syscall3(__NR_open, LAYOUT_PATH, O_RDONLY | O_CLOEXEC, 0), got;

	if (fd == -ENOENT) {
		layout_default(l);
		return;
	}
	if (IS_ERR(fd))
		die(LAYOUT_PATH, "cannot be opened: ", error_text(fd));
	do {
		/* read(2): may return less than asked for. */
		got = syscall3(__NR_read, fd, (char *)l + size, want - size);
		if (IS_ERR(got))
			die(LAYOUT_PATH, "cannot be read: ", error_text(got));
		size += got;
	} while (got && size < want);
	/* close(2): the loader should inherit no descriptor of ours. */
	syscall1(__NR_close, fd);
	layout_check(l, size);
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
static void layout_add_image(struct layout *l, const char *value)
{
	struct range image;
	const char *rest = hex_number(value, '-', &image.start);

	if (!rest || !hex_number(rest, 0, &image.end))
		die("WINEPRELOADRESERVE", "is not START-END in hexadecimal", "");
	if (image.end > l->limit)
		image.end = l->limit;
	image.start = ALIGN_DOWN(image.start, PAGE_SIZE);
	image.end = ALIGN_UP(image.end, PAGE_SIZE);
	if (image.start < image.end)
		layout_add(l, image);
}

/*
 * Whether every page is mapped already. msync(2) with MS_ASYNC does nothing
 * but say so: it fails with ENOMEM when there is a hole.
 */
static int all_mapped(u64 start, u64 end)
{
	return syscall3(__NR_msync, start, end - start, MS_ASYNC) == 0;
}

/* Notes what was reserved; pieces that touch are one. */
static void add_piece(u64 start, u64 end)
{
	if (piece_count) {
		struct preload_info *last = &pieces[piece_count - 1];

		if ((u64)last->address + last->size == start) {
			last->size += end - start;
			return;
		}
	}
	if (piece_count == MAX_PIECES)
		die(LAYOUT_PATH, "has ranges with too much in them already", "");
	pieces[piece_count].address = (void *)start;
	pieces[piece_count++].size = end - start;
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

/*
 * Takes the free parts of a range out of circulation. Halves the range until
 * a half is free or full. What was taken is published for Wine if asked.
 */
static void reserve(u64 start, u64 end, int publish)
{
	char text[RANGE_TEXT_SIZE];
	u64 middle;
	long got;

	if (start >= end)
		return;
	/*
	 * mmap(2): PROT_NONE and MAP_NORESERVE cost address space only.
	 * MAP_FIXED_NOREPLACE fails where something is mapped already.
	 */
	got = syscall6(__NR_mmap, start, end - start, PROT_NONE,
		       MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stage->calls++;
	if ((u64)got == start) {
		count_taken(start, end);
		if (publish)
			add_piece(start, end);
		return;
	}
	if (!IS_ERR(got)) {
		/* munmap(2): a kernel before 4.17 does not know the flag and mapped somewhere else. */
		syscall2(__NR_munmap, got, end - start);
		got = -EEXIST;
	}
	/* EPERM or EACCES: below vm.mmap_min_addr, or forbidden there by SELinux; what lies above may still be had. */
	if (got != -EEXIST && got != -EPERM && got != -EACCES)
		die(range_text(text, start, end), "cannot be reserved: ", error_text(got));
	if (end - start == PAGE_SIZE || (got == -EEXIST && all_mapped(start, end)))
		return;
	middle = start + ALIGN_DOWN((end - start) / 2, PAGE_SIZE);
	reserve(start, middle, publish);
	reserve(middle, end, publish);
}

/* The same, but leaves the room for the stack alone. */
static void reserve_around_stack(struct range r, u64 stack_pointer, int publish)
{
	u64 room_end = ALIGN_DOWN(stack_pointer, PAGE_SIZE);

	if (r.start < second.stack_room)
		reserve(r.start, r.end < second.stack_room ? r.end : second.stack_room, publish);
	reserve(r.start > room_end ? r.start : room_end, r.end, publish);
}

/*
 * Maps an image that may go anywhere below the last one (or the preloader),
 * with an unmapped gap of at least 64 KiB, and outside all planned ranges. An
 * image that may not move is mapped where it was linked.
 */
static void load(struct image *img, const struct layout *l, u64 *below)
{
	u64 linked = ALIGN_DOWN(img->start, img->align), size = img->end - linked, start;

	if (!image_moves(img)) {
		image_map(img, 0);
		return;
	}
	start = ALIGN_DOWN(*below - 0x10000 - size, img->align);
	for (u32 i = l->count; i-- > 0;)
		if (l->range[i].start < start + size && start < l->range[i].end)
			start = ALIGN_DOWN(l->range[i].start - size, img->align);
	if (start > *below || start + size > *below)
		die(img->path, "does not fit between the planned ranges", "");
	image_map(img, start - linked);
	*below = start;
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
static void drop_first_argument(u64 *stack, u64 *end)
{
	stack[0]--;
	for (u64 *word = stack + 1; word + 1 < end; word++)
		word[0] = word[1];
}

/*
 * Tells the dynamic linker about the loader instead of the preloader
 * (getauxval(3)). The kernel supplies all of these entries. The vdso and all
 * others stay as they are.
 */
static void describe(u64 *auxv, const struct image *loader, u64 interpreter_base, u64 entry, const char *path)
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
			auxv[1] = (u64)path;
			break;
		}
	}
}

/* The second stage; returns where the program begins. The name is start-amd64.S's. */
u64 fill_above_limit(void)
{
	stage_begin();
	reserve_around_stack((struct range){ second.limit, USER_TOP }, (u64)__builtin_frame_address(0), 0);
	stage_end();
	return second.entry;
}

/* The first stage; returns where to go on. stack is as the kernel left it: argc, argv, environment, auxv. */
u64 preload(u64 *stack)
{
	static const char reserve_name[] = "WINEPRELOADRESERVE=";
	char **argv = (char **)stack + 1, **env, *image_range = NULL, interpreter_path[PATH_MAX];
	struct image loader, interpreter;
	struct layout layout;
	u64 *auxv, *auxv_end, below = (u64)preloader_start, entry;
	struct preload_info **published;
	int dynamic;

	if (stack[0] < 2)
		die("usage:", "preloader LOADER [ARGUMENT]...", "");
	take_name(argv);
	for (env = argv + stack[0] + 1; *env; env++) {
		u64 i = 0;

		while (reserve_name[i] && (*env)[i] == reserve_name[i])
			i++;
		if (!reserve_name[i])
			image_range = *env + i;
	}
	auxv = (u64 *)(env + 1);
	for (auxv_end = auxv; auxv_end[0] != AT_NULL; auxv_end += 2)
		;
	auxv_end += 2;

	layout_read(&layout);
	if (image_range)
		layout_add_image(&layout, image_range);
	second.limit = layout.limit;
	second.stack_room = ALIGN_DOWN((u64)stack - STACK_ROOM, STACK_ROOM_ALIGN);

	/* The loader comes before the reservations: one that cannot move must get its place even inside a range. */
	image_open(&loader, argv[1]);
	dynamic = image_interpreter(&loader, interpreter_path);
	load(&loader, &layout, &below);
	entry = second.entry = loader.bias + loader.header.e_entry;
	if (dynamic) {
		image_open(&interpreter, interpreter_path);
		load(&interpreter, &layout, &below);
		entry = interpreter.bias + interpreter.header.e_entry;
		describe(auxv, &loader, interpreter.bias, (u64)second_stage, argv[1]);
	} else {
		describe(auxv, &loader, 0, second.entry, argv[1]);
	}

	report.limit = layout.limit;
	stage_begin();
	for (u32 i = 0; i < layout.count; i++)
		reserve_around_stack(layout.range[i], (u64)stack, 1);
	stage_end();
	report.magic = REPORT_MAGIC;
	/* A loader of another kind does without; Wine's reads the list when it sets up its address space. */
	published = image_variable(&loader, "wine_main_preload_info", sizeof(*published));
	if (published)
		*published = pieces;

	/* Without a dynamic linker there is nothing to wait for. */
	if (!dynamic)
		fill_above_limit();
	drop_first_argument(stack, auxv_end);
	return entry;
}
