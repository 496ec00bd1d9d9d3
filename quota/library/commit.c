//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the memory that the processes of a container commit, and fails what would pass the limit.
 *
 * All memory of a Windows program comes from mmap(2) and mprotect(2), called by Wine's ntdll; the functions here take the
 * place of the C library's. Charged is
 *
 *   - private memory without a file, from when it is first accessible until it is mapped over or unmapped: commit. What
 *     is only reserved is not accessible (PROT_NONE), and Wine decommits by mapping over;
 *   - private memory of a file, as long as it is writable: each process will have pages of its own there;
 *   - sections of the paging file, as far as they have been touched; one is mapped only if it can be touched as a whole;
 *   - of a thread's stack what it commits at once, since Windows lets the rest grow.
 *
 * What the C library maps for itself (its heap, stacks of native threads) and the wineserver's memory do not pass here.
 * A fixed amount stands for them.
 */
#include <linux/elf.h>
#include <linux/stat.h>

#include "quota.h"
#include "commit.h"

/*
 * What is kept of each page: bits in three planes. A page without any is not mapped, or reserved. They lie in chunks of
 * 2 MiB, of which one that is the same everywhere has no planes of its own, and those in regions of 1 GiB.
 */
enum plane { CHARGED, FILED, EXEMPT, PLANES };

#define CHUNK_PAGES 512U
#define CHUNK_SIZE (CHUNK_PAGES * PAGE_SIZE)
#define REGION_SIZE (1ULL << 30)
#define REGION_CHUNKS (REGION_SIZE / CHUNK_SIZE)
#define WORD_BITS (8 * sizeof(long))
#define CHUNK_WORDS (CHUNK_PAGES / WORD_BITS)
#if defined(__x86_64__)
#define ADDRESS_BITS 47
#else
#define ADDRESS_BITS 32
#endif

struct planes {
	unsigned long bits[PLANES][CHUNK_WORDS];
};

struct chunk {
	struct planes *planes; /* NULL: all pages are alike */
	u16 charged;	       /* how many pages */
	u8 state;	       /* of all pages, one bit for each plane */
};

struct region {
	struct chunk chunk[REGION_CHUNKS];
};

static struct region *regions[1ULL << (ADDRESS_BITS - 30)];

/* Planes that are free, each with a pointer to the next in it. */
static struct planes *free_planes;

/* What is done with pages. A state that it leads to does not depend on anything but the state before. */
enum action {
	RELEASE,	/* unmapped, or reserved */
	COMMIT,		/* private memory without a file is mapped */
	EXCUSE,		/* mapped, and charged to nobody, or elsewhere */
	MAP_READ,	/* a file is mapped privately, not writable */
	MAP_WRITE,	/* and writable */
	PROTECT_NONE,	/* nobody may access it any more */
	PROTECT_READ,	/* accessible, not writable */
	PROTECT_WRITE,	/* writable */
};

/* The new bits of pages in a word, all of which are acted upon. */
static inline void act(enum action action, unsigned long *charged, unsigned long *filed, unsigned long *exempt)
{
	switch (action) {
	case RELEASE:
		*charged = *filed = *exempt = 0;
		break;
	case COMMIT:
		*charged = ~0UL;
		*filed = *exempt = 0;
		break;
	case EXCUSE:
		*charged = *filed = 0;
		*exempt = ~0UL;
		break;
	case MAP_READ:
		*charged = *exempt = 0;
		*filed = ~0UL;
		break;
	case MAP_WRITE:
		*charged = *filed = ~0UL;
		*exempt = 0;
		break;
	case PROTECT_NONE:
		*charged &= ~*filed;
		break;
	case PROTECT_READ:
		*charged = (*charged & ~*filed) | (~*filed & ~*exempt);
		break;
	case PROTECT_WRITE:
		*charged |= ~*exempt;
		break;
	}
}

static u8 act_on_state(enum action action, u8 state)
{
	unsigned long charged = -(unsigned long)(state >> CHARGED & 1), filed = -(unsigned long)(state >> FILED & 1),
		      exempt = -(unsigned long)(state >> EXEMPT & 1);

	act(action, &charged, &filed, &exempt);
	return (charged & 1) << CHARGED | (filed & 1) << FILED | (exempt & 1) << EXEMPT;
}

static u32 count_bits(unsigned long word)
{
	u32 n = 0;

	for (; word; word >>= 32 % WORD_BITS) {
		u32 w = (u32)word;

		w -= w >> 1 & 0x55555555;
		w = (w & 0x33333333) + (w >> 2 & 0x33333333);
		n += ((w + (w >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
		if (WORD_BITS == 32)
			break;
	}
	return n;
}

static void *more(u64 size)
{
	long at = syscall6(NR_MMAP, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return IS_ERR(at) ? NULL : (void *)at;
}

static struct planes *take_planes(void)
{
	struct planes *p = free_planes;
	const u64 size = 16 * PAGE_SIZE;

	if (!p) {
		char *block = more(size);

		if (!block)
			return NULL;
		for (u64 at = 0; at + sizeof(*p) <= size; at += sizeof(*p)) {
			p = (struct planes *)(block + at);
			p->bits[0][0] = (unsigned long)free_planes;
			free_planes = p;
		}
	}
	free_planes = (struct planes *)p->bits[0][0];
	return p;
}

static void give_planes(struct planes *p)
{
	p->bits[0][0] = (unsigned long)free_planes;
	free_planes = p;
}

/* Acts on some pages of a chunk, from first on, if asked to; returns how many more are charged then. */
static long chunk_change(struct chunk *c, u32 first, u32 count, enum action action, int carry_out)
{
	u8 state = act_on_state(action, c->state);
	long change = 0;

	if (!c->planes) {
		change = (long)count * ((state >> CHARGED & 1) - (c->state >> CHARGED & 1));
		if (!carry_out || state == c->state)
			return change;
		if (count == CHUNK_PAGES) {
			c->state = state;
			c->charged += change;
			return change;
		}
		c->planes = take_planes();
		if (!c->planes) /* not counted exactly any more, but never more than there is */
			return 0;
		for (u32 p = 0; p < PLANES; p++)
			for (u32 i = 0; i < CHUNK_WORDS; i++)
				c->planes->bits[p][i] = -(unsigned long)(c->state >> p & 1);
		change = 0;
	}
	for (u32 i = first / WORD_BITS; i <= (first + count - 1) / WORD_BITS; i++) {
		unsigned long *charged = &c->planes->bits[CHARGED][i], *filed = &c->planes->bits[FILED][i],
			      *exempt = &c->planes->bits[EXEMPT][i], mask = ~0UL;
		unsigned long new_charged = *charged, new_filed = *filed, new_exempt = *exempt;

		if (i == first / WORD_BITS)
			mask &= ~0UL << first % WORD_BITS;
		if (i == (first + count - 1) / WORD_BITS)
			mask &= ~0UL >> (WORD_BITS - 1 - (first + count - 1) % WORD_BITS);
		act(action, &new_charged, &new_filed, &new_exempt);
		change += (long)count_bits(new_charged & mask) - count_bits(*charged & mask);
		if (carry_out) {
			*charged = (*charged & ~mask) | (new_charged & mask);
			*filed = (*filed & ~mask) | (new_filed & mask);
			*exempt = (*exempt & ~mask) | (new_exempt & mask);
		}
	}
	if (carry_out)
		c->charged += change;
	return change;
}

/* Acts on a range of pages in the table; returns how many more are charged then. */
static long table_change(u64 start, u64 size, enum action action, int carry_out)
{
	u64 end = start + size;
	long change = 0;
	/* What becomes of a whole chunk, whatever it was. */
	u8 state = act_on_state(action, 0);
	u16 charged = state >> CHARGED & 1 ? CHUNK_PAGES : 0;

	if (end < start || end > 1ULL << ADDRESS_BITS)
		return 0;
	while (start < end) {
		struct region **region = &regions[start / REGION_SIZE];
		u64 stop = (start / REGION_SIZE + 1) * REGION_SIZE;

		if (stop > end)
			stop = end;
		if (!*region) {
			struct chunk empty = { 0 };

			if (state == 0) {
				start = stop;
				continue;
			}
			if (!carry_out) {
				change += chunk_change(&empty, 0, 1, action, 0) * (long)((stop - start) / PAGE_SIZE);
				start = stop;
				continue;
			}
			*region = more(sizeof(struct region));
			if (!*region) {
				start = stop;
				continue;
			}
		}
		while (start < stop) {
			struct chunk *chunk = &(*region)->chunk[start / CHUNK_SIZE % REGION_CHUNKS];
			u64 chunk_stop = (start / CHUNK_SIZE + 1) * CHUNK_SIZE;

			if (chunk_stop > stop)
				chunk_stop = stop;
			if (chunk_stop - start == CHUNK_SIZE && action <= MAP_WRITE) {
				change += (long)charged - chunk->charged;
				if (carry_out) {
					if (chunk->planes)
						give_planes(chunk->planes);
					*chunk = (struct chunk){ NULL, charged, state };
				}
				start = chunk_stop;
				continue;
			}
			change += chunk_change(chunk, start / PAGE_SIZE % CHUNK_PAGES, (chunk_stop - start) / PAGE_SIZE,
					       action, carry_out);
			start = chunk_stop;
		}
	}
	return change;
}

/*
 * The range that was released last, and what has become of it as a whole since, of which the table knows nothing: programs
 * allocate again and again where they have released.
 */
static struct {
	u64 start, end;
	u8 state;
} last;

/* Has the table know of the last range. */
static void settle_last(void)
{
	static const u8 actions[1 << PLANES] = {
		[1 << CHARGED] = COMMIT, [1 << FILED] = MAP_READ, [1 << CHARGED | 1 << FILED] = MAP_WRITE, [1 << EXEMPT] = EXCUSE,
	};

	if (last.state)
		table_change(last.start, last.end - last.start, actions[last.state], 1);
	last.start = last.end = last.state = 0;
}

/* Acts on a range of pages; returns how many more are charged then. */
static long range_change(u64 start, u64 size, enum action action, int carry_out)
{
	u64 end = start + size;
	long change;

	if (start == last.start && end == last.end) {
		u8 state = act_on_state(action, last.state);

		change = (long)(size / PAGE_SIZE) * ((state >> CHARGED & 1) - (last.state >> CHARGED & 1));
		if (carry_out)
			last.state = state;
		return change;
	}
	if (start < last.end && last.start < end)
		settle_last();
	change = table_change(start, size, action, carry_out);
	if (carry_out && action == RELEASE && start < end && end <= 1ULL << ADDRESS_BITS) {
		settle_last();
		last.start = start;
		last.end = end;
	}
	return change;
}

/*
 * What belongs to this process alone, on a page that fork(2) clears in the child (MADV_WIPEONFORK): between fork and
 * execve, a child of Wine counts nothing.
 */
struct process {
	u32 lock;
	struct slot *slot; /* NULL: this process does not count */
};
static struct process none, *self = &none;
static struct counters *counters;

/*
 * What a system call of Windows' is about, while one runs: those of ntdll that allocate are entered by way of
 * begin_call. Entries of calls that have been left without an end lie below the stack pointer, and are dropped.
 */
#define MAX_DEPTH 8
static __thread struct calls {
	u32 depth;
	struct call {
		unsigned long *slot, return_address;
		enum call_kind kind;
		u32 refused;	     /* whether a mapping was */
		u32 kept_from;	     /* whether pages were not made accessible */
		u64 commit;	     /* of a thread's stack */
	} call[MAX_DEPTH];
} calls;

static struct call *this_call(void)
{
	return calls.depth ? &calls.call[calls.depth - 1] : NULL;
}

static int is_map(const struct call *call)
{
	return call->kind == MAP || call->kind == MAP_EX;
}

/* Where Wine's ntdll.so is, once it has been seen, and whether its system calls pass by begin_call. */
static u64 ntdll_start, ntdll_end;
static u32 hooked, started;

static int from_ntdll(void *caller)
{
	u64 at = (unsigned long)caller;

	return at >= ntdll_start && at < ntdll_end;
}

/*
 * One thread at a time looks at the pages, and keeps others waiting for a system call at most. A thread that is suspended
 * by a signal must not hold the lock: Wine has signals blocked when it changes memory at a place that it knows; elsewhere
 * they are blocked here. blocked says where.
 */
static int blocked(const void *start, void *caller)
{
	return start && from_ntdll(caller);
}

static u64 lock(int blocked)
{
	u64 mask = 0, all = ~0ULL;

	/* rt_sigprocmask(2) */
	if (!blocked)
		syscall4(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &mask, sizeof(mask));
	while (__atomic_exchange_n(&self->lock, 1, __ATOMIC_ACQUIRE))
		syscall0(__NR_sched_yield);
	return mask;
}

static void unlock(int blocked, u64 mask)
{
	__atomic_store_n(&self->lock, 0, __ATOMIC_RELEASE);
	if (!blocked)
		syscall4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, sizeof(mask));
}

static void note_peak(u32 *peak, u32 value)
{
	u32 before = __atomic_load_n(peak, __ATOMIC_RELAXED);

	while (value > before && (i32)value >= 0 &&
	       !__atomic_compare_exchange_n(peak, &before, value, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Adds to what this process is charged, to which nobody else writes as long as it lives; to be called with the lock. */
static u32 add_own(u32 pages)
{
	u32 own = self->slot->charged + pages;

	__atomic_store_n(&self->slot->charged, own, __ATOMIC_RELAXED);
	return own;
}

static void uncharge(u32 pages)
{
	__atomic_fetch_sub(&counters->charged, pages, __ATOMIC_RELAXED);
	add_own(-pages);
}

/* What a limit in bytes leaves to programs, in pages: page tables take a 512th of what they map, and have no other place. */
static u64 limit_pages(u64 bytes)
{
	return (bytes - bytes / 512) / PAGE_SIZE;
}

static int over(u32 charged, u64 limit)
{
	return limit && (i32)charged > 0 && charged > limit_pages(limit);
}

/* When a process started, as far as it tells it from others: field 22 of its stat file, where names may have blanks. */
static u32 start_time(u32 pid)
{
	char path[32] = "/proc/", text[512];
	u32 n = sizeof("/proc/") - 1, digits = 1, field = 2, value = 0;
	const char *s;

	for (u32 rest = pid; rest /= 10;)
		digits++;
	for (u32 i = digits; i--; pid /= 10)
		path[n + i] = '0' + pid % 10;
	memcpy(path + n + digits, "/stat", sizeof("/stat"));
	n = read_file(path, text, sizeof(text));
	while (n && text[n - 1] != ')')
		n--;
	for (s = text + n; *s && field < 22; s++)
		field += *s == ' ';
	while (*s >= '0' && *s <= '9')
		value = value * 10 + (*s++ - '0');
	return value;
}

/* Gives back what processes have charged that are gone. thorough looks for process ids that others have got since. */
static void sweep(int thorough)
{
	for (u32 i = 0; i < MAX_SLOTS; i++) {
		struct slot *s = &counters->slot[i];
		u32 pid = __atomic_load_n(&s->pid, __ATOMIC_ACQUIRE), charged;

		if (i >= __atomic_load_n(&counters->slots, __ATOMIC_ACQUIRE))
			break;
		if (!pid || pid == SLOT_BUSY || s == self->slot)
			continue;
		/* kill(2) without a signal only asks whether the process exists. */
		if (syscall2(__NR_kill, pid, 0) != -ESRCH && !(thorough && start_time(pid) != s->start))
			continue;
		if (!__atomic_compare_exchange_n(&s->pid, &pid, SLOT_BUSY, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		charged = __atomic_exchange_n(&s->charged, 0, __ATOMIC_RELAXED);
		__atomic_fetch_sub(&counters->charged, charged, __ATOMIC_RELAXED);
		__atomic_store_n(&s->pid, 0, __ATOMIC_RELEASE);
	}
}

/*
 * Where the wineserver makes the files of sections: the only ones of a file system in memory, so that what is in use of
 * that is what the sections have of memory, also those that no process has mapped at the moment.
 */
static char sections_path[32] = "/run/user/";

#define TMPFS_MAGIC 0x01021994
struct statfs {
	unsigned long type, block_size;
#if defined(__i386__)
	u64 blocks, free, available, files, files_free;
	i32 id[2];
	unsigned long name, fragment, flags, spare[4];
} __attribute__((packed, aligned(4)));
#define STATFS(nr, what, to) syscall3(nr##64, what, sizeof(struct statfs), to)
#else
	u64 blocks, free, available, files, files_free;
	i32 id[2];
	unsigned long name, fragment, flags, spare[4];
};
#define STATFS(nr, what, to) syscall2(nr, what, to)
#endif

/* Notes how many pages sections have. */
static void look_at_sections(void)
{
	struct statfs fs;

	if (!IS_ERR(STATFS(__NR_statfs, sections_path, &fs)) && fs.type == TMPFS_MAGIC)
		__atomic_store_n(&counters->shared, (u32)(fs.blocks - fs.free), __ATOMIC_RELAXED);
}

/* Whether so much can be committed that is not charged at once, or by another process. */
static int have_room(u64 size)
{
	if (!limits->commit)
		return 1;
	for (int swept = 0;; swept = 1) {
		look_at_sections();
		if (size < limits->commit && !over(counters->charged + counters->shared + (u32)(size / PAGE_SIZE), limits->commit))
			return 1;
		if (swept) {
			__atomic_fetch_add(&counters->failures, 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&self->slot->failures, 1, __ATOMIC_RELAXED);
			return 0;
		}
		sweep(1);
	}
}

/* Which file system a file is on, 0 if that cannot be told: by a path, or without one by its descriptor. */
static u64 device(int fd, const char *path)
{
	struct statx st;

	/* statx(2) */
	if (IS_ERR(syscall5(__NR_statx, fd, path, *path ? 0 : 0x1000 /* AT_EMPTY_PATH */, 0, &st)))
		return 0;
	return (u64)st.stx_dev_major << 32 | st.stx_dev_minor;
}

/* Whether so much of a section can be mapped: if all of it is touched, the limit must not be passed. */
static int section_fits(int fd, u64 size)
{
	static u64 sections;

	if (!sections)
		sections = device(-1, sections_path);
	return !sections || device(fd, "") != sections || have_room(size);
}

/* Charges pages to the container if that passes no limit, or must be. */
static int fits(u32 pages, int forced)
{
	u32 all = __atomic_add_fetch(&counters->charged, pages, __ATOMIC_RELAXED);
	u32 own = add_own(pages);

	if (forced || !(over(own, limits->commit_process) || over(all + counters->shared, limits->commit))) {
		note_peak(&counters->peak, all);
		return 1;
	}
	uncharge(pages);
	return 0;
}

/* Charges pages to the container; 0 when that would pass a limit, unless forced. */
static int charge(u32 pages, int forced)
{
	for (int swept = 0;; swept = 1) {
		if (fits(pages, forced))
			return 1;
		if (swept) {
			__atomic_fetch_add(&counters->failures, 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&self->slot->failures, 1, __ATOMIC_RELAXED);
			return 0;
		}
		sweep(1);
		look_at_sections();
	}
}

u64 committed(void)
{
	if (!counters)
		return 0;
	look_at_sections();
	return ((u64)__atomic_load_n(&counters->charged, __ATOMIC_RELAXED) + counters->shared) * PAGE_SIZE;
}

/*
 * What stands for the memory that is not counted, in pages: of each process (the C library's heap, what native libraries
 * have written to, page tables), and once for the wineserver and the kernel's part.
 */
#define PROCESS_PAGES (3 * MiB / PAGE_SIZE)
#define CONTAINER_PAGES (8 * MiB / PAGE_SIZE)

/* Takes a slot for this process. Without one it does not count. */
static void join(void)
{
	u32 pid = syscall0(__NR_getpid), uid = syscall0(__NR_getuid), n = sizeof("/run/user/") - 1, digits = 1;
	/* open(2): the first process makes the file; ftruncate(2) gives it its size, which does not change afterwards. */
	long fd = syscall3(__NR_open, COUNTERS_PATH, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), at;
	struct process *page;

	for (u32 rest = uid; rest /= 10;)
		digits++;
	for (u32 i = digits; i--; uid /= 10)
		sections_path[n + i] = '0' + uid % 10;
	if (IS_ERR(fd))
		return;
	syscall2(__NR_ftruncate, fd, COUNTERS_SIZE);
	at = syscall6(NR_MMAP, 0, COUNTERS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	syscall1(__NR_close, fd);
	page = more(PAGE_SIZE);
	if (IS_ERR(at) || !page)
		return;
	/* madvise(2) */
	if (IS_ERR(syscall3(__NR_madvise, page, PAGE_SIZE, MADV_WIPEONFORK)))
		return;
	counters = (struct counters *)at;
	if (__atomic_exchange_n(&counters->version, 1, __ATOMIC_RELAXED) == 0)
		__atomic_fetch_add(&counters->charged, CONTAINER_PAGES, __ATOMIC_RELAXED);
	for (u32 i = 0; i < MAX_SLOTS; i++) {
		struct slot *s = &counters->slot[i];
		u32 free = 0, slots = i + 1;

		/* What has this process's id is what it was before execve, or one that is gone. */
		if (s->pid == pid) {
			__atomic_fetch_sub(&counters->charged, __atomic_exchange_n(&s->charged, 0, __ATOMIC_RELAXED),
					   __ATOMIC_RELAXED);
			__atomic_store_n(&s->pid, 0, __ATOMIC_RELEASE);
		}
		if (page->slot || !__atomic_compare_exchange_n(&s->pid, &free, SLOT_BUSY, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			if (i >= counters->slots)
				break;
			continue;
		}
		s->start = start_time(pid);
		s->charged = s->failures = 0;
		page->slot = s;
		self = page;
		note_peak(&counters->slots, slots);
		__atomic_store_n(&s->pid, pid, __ATOMIC_RELEASE);
	}
	if (!page->slot)
		return;
	sweep(0);
	charge(PROCESS_PAGES, 1);
}

static const char *const call_names[CALL_KINDS] = {
	"NtAllocateVirtualMemory", "NtAllocateVirtualMemoryEx", "NtMapViewOfSection", "NtMapViewOfSectionEx",
	"NtCreateThreadEx", "NtCreateSection",
};
static char *const call_entries[CALL_KINDS] = {
	enter_allocate, enter_allocate_ex, enter_map, enter_map_ex, enter_create_thread, enter_create_section,
};
void *original[CALL_KINDS];

#if defined(__x86_64__)
typedef Elf64_Ehdr elf_header;
typedef Elf64_Phdr elf_segment;
#else
typedef Elf32_Ehdr elf_header;
typedef Elf32_Phdr elf_segment;
#endif

/*
 * Leads the system calls by way of calls.S: ntdll.so has the addresses of their functions in a table of its data, which
 * a program's calls go through.
 */
static void hook(const elf_header *module, const char *file)
{
	const elf_segment *segment = (const void *)((const char *)module + module->e_phoff);
	void *handle = dlopen(file, RTLD_LOADED);

	for (u32 kind = 0; handle && kind < CALL_KINDS; kind++)
		original[kind] = dlsym(handle, call_names[kind]);
	for (u32 i = 0; i < module->e_phnum; i++) {
		unsigned long start = (unsigned long)module + segment[i].p_vaddr, end = start + segment[i].p_filesz;

		if (segment[i].p_type != PT_LOAD)
			continue;
		if (start + segment[i].p_memsz > ntdll_end)
			ntdll_end = start + segment[i].p_memsz;
		if (!(segment[i].p_flags & PF_W))
			continue;
		for (void **word = (void **)((start + sizeof(*word) - 1) & -sizeof(*word)); word + 1 <= (void **)end; word++)
			for (u32 kind = 0; kind < CALL_KINDS; kind++) {
				unsigned long page = (unsigned long)word & -PAGE_SIZE;

				if (!original[kind] || *word != original[kind])
					continue;
				/* mprotect(2): the table is read-only once the dynamic linker is done (PT_GNU_RELRO). */
				if (IS_ERR(syscall3(__NR_mprotect, page, PAGE_SIZE, PROT_READ | PROT_WRITE)))
					continue;
				*word = call_entries[kind];
				hooked |= 1U << kind;
			}
	}
	for (u32 i = 0; i < module->e_phnum; i++)
		if (segment[i].p_type == PT_GNU_RELRO) {
			unsigned long start = (unsigned long)module + segment[i].p_vaddr,
				      end = (start + segment[i].p_memsz) & -PAGE_SIZE;

			syscall3(__NR_mprotect, start & -PAGE_SIZE, end - (start & -PAGE_SIZE), PROT_READ);
		}
}

/* Looks whether a caller belongs to ntdll.so, which is loaded when this library has been there for a while. */
static void find_ntdll(void *caller)
{
	static const char end[] = "/ntdll.so";
	struct module module;
	u32 n;

	if (!dladdr || !dlopen || !dlsym || !dladdr(caller, &module) || !module.file)
		return;
	n = string_length(module.file);
	if (n < sizeof(end) - 1)
		return;
	for (u32 i = 0; i < sizeof(end) - 1; i++)
		if (module.file[n - (sizeof(end) - 1) + i] != end[i])
			return;
	ntdll_start = (unsigned long)module.base;
	hook(module.base, module.file);
}

#pragma GCC visibility push(hidden)
void *begin_call(enum call_kind kind, unsigned long *slot) __attribute__((used));
u32 end_call(u32 status, unsigned long *return_address) __attribute__((used));
#pragma GCC visibility pop

#define THIS_PROCESS (~0UL) /* a handle */

#if defined(__x86_64__)
/* How arguments come, by where calls.S has saved the registers, in words from the return address on. */
static const signed char microsoft[4] = { -2 /* rcx */, -3 /* rdx */, -6 /* r8 */, -7 /* r9 */ },
			 system_v[6] = { -5 /* rdi */, -4 /* rsi */, -3 /* rdx */, -2 /* rcx */, -6 /* r8 */, -7 /* r9 */ };
static enum { UNKNOWN, MICROSOFT, SYSTEM_V } convention;

/* Finds out by the first allocation, which is one in this process. In System V's, rcx has a pointer. */
static void find_convention(enum call_kind kind, const unsigned long *slot)
{
	if (convention == UNKNOWN && kind == ALLOCATE)
		convention = slot[microsoft[0]] == THIS_PROCESS ? MICROSOFT : slot[system_v[0]] == THIS_PROCESS ? SYSTEM_V : UNKNOWN;
}

/* An argument, from 0 on. On the stack, Microsoft's begin behind room for the first four. */
static unsigned long argument(const unsigned long *slot, u32 n)
{
	if (convention == MICROSOFT)
		return n < 4 ? slot[microsoft[n]] : slot[n + 1];
	return n < 6 ? slot[system_v[n]] : slot[n - 5];
}
#else
static const int convention = 1;

static void find_convention(enum call_kind kind, const unsigned long *slot)
{
	(void)kind;
	(void)slot;
}

static unsigned long argument(const unsigned long *slot, u32 n)
{
	return slot[n + 1];
}
#endif

#define MEM_COMMIT 0x1000
#define SEC_COMMIT 0x8000000

/*
 * The function that refuses a call which would pass the limit where nobody sees it that may refuse: an allocation in another
 * process, whose Wine carries it out, and a section of the paging file, which is charged as it is touched. NULL for others.
 * A bad pointer is an error of the call, as in Wine, which follows it at this point of the call as well.
 */
static void *refuse(enum call_kind kind, const unsigned long *slot)
{
	/* NtAllocateVirtualMemory(process, address, zero_bits, size, type, protection), Ex(process, address, size, type, ...) */
	u32 size = kind == ALLOCATE ? 3 : 2;

	if (kind == CREATE_SECTION) { /* (handle, access, attributes, size, protection, flags, file) */
		const u64 *bytes = (const u64 *)argument(slot, 3);

		if (argument(slot, 6) || !((u32)argument(slot, 5) & SEC_COMMIT) || !bytes || have_room(*bytes))
			return NULL;
		*(unsigned long *)argument(slot, 0) = 0; /* kernelbase looks at it whatever comes back */
		return refuse_7;
	}
	if (kind > ALLOCATE_EX || argument(slot, 0) == THIS_PROCESS ||
	    !((u32)argument(slot, kind == ALLOCATE ? 4 : 3) & MEM_COMMIT) || have_room(*(const unsigned long *)argument(slot, size)))
		return NULL;
	return kind == ALLOCATE ? refuse_6 : refuse_7;
}

/* A system call begins, whose return address is at slot. Returns the function. */
void *begin_call(enum call_kind kind, unsigned long *slot)
{
	struct calls *c = &calls;
	struct call *call;

	started = 1;
	while (c->depth && c->call[c->depth - 1].slot <= slot)
		c->depth--;
	if (c->depth == MAX_DEPTH || !self->slot)
		return original[kind];
	find_convention(kind, slot);
	if (convention) {
		void *instead = refuse(kind, slot);

		if (instead || kind == CREATE_SECTION)
			return instead ? instead : original[kind];
	}
	call = &c->call[c->depth++];
	*call = (struct call){ .slot = slot, .return_address = *slot, .kind = kind };
	if (kind == CREATE_THREAD && convention)
		call->commit = argument(slot, 8);
	*slot = (unsigned long)after_call;
	return original[kind];
}

#define STATUS_NO_MEMORY 0xc0000017U
#define STATUS_COMMITMENT_LIMIT 0xc000012dU

/* It has ended. Tells where to go on, and returns the status for the program. */
u32 end_call(u32 status, unsigned long *return_address)
{
	struct calls *c = &calls;
	struct call *call;

	/* What is left of calls that never ended lies below. On i386, the arguments of this one are gone already. */
	while (c->depth > 1 && c->call[c->depth - 1].slot + 16 < return_address)
		c->depth--;
	call = &c->call[--c->depth];
	*return_address = call->return_address;
	/*
	 * Wine says access denied, as mprotect(2) fails for nothing else usually, or nothing at all where it does not look:
	 * pages whose writes are watched. They are tried again when the program commits them again.
	 */
	if (call->kind <= ALLOCATE_EX && (call->kept_from || (call->refused && (i32)status < 0)))
		return STATUS_COMMITMENT_LIMIT;
	return call->refused && (i32)status < 0 ? STATUS_NO_MEMORY : status;
}

/* How much of a thread's stack counts at once if nobody says, in bytes: more than Windows gives it, and what Wine uses. */
#define STACK_COMMIT 0x10000

/* mmap(2). The offset must be that of a page, which Wine tries out: mmap2(2) cannot tell. */
static long map(void *start, unsigned long size, int prot, int flags, int fd, u64 offset)
{
	if (offset % PAGE_SIZE)
		return -EINVAL;
	return syscall6(NR_MMAP, (long)start, size, prot, flags, fd, MMAP_OFFSET(offset));
}

/* mmap(2), counted. */
static void *counted_mmap(void *start, unsigned long length, int prot, int flags, int fd, u64 offset, void *caller)
{
	u64 size = ((u64)length + PAGE_SIZE - 1) & -PAGE_SIZE, mask, exempt = 0;
	struct call *call = this_call();
	enum action action = RELEASE;
	long change = 0, at;
	int refused = 0, forced = 0, stack = 0;

	if (!ntdll_start && self->slot)
		find_ntdll(caller);
	if (!self->slot || (size >> (ADDRESS_BITS - 1) && ADDRESS_BITS > 32)) {
		at = map(start, length, prot, flags, fd, offset);
		return IS_ERR(at) ? (void *)(long)fail(at) : (void *)at;
	}
	if ((flags & MAP_TYPE) != MAP_PRIVATE)
		action = EXCUSE;
	else if (!(flags & MAP_ANONYMOUS))
		action = prot & PROT_WRITE ? MAP_WRITE : MAP_READ;
	else if (prot != PROT_NONE)
		action = COMMIT;
	/* Where an image is going to be: what its sections leave of it is charged like them. Of other views nothing is left. */
	if (action == COMMIT && from_ntdll(caller) && hooked && (!started || (call && is_map(call))))
		action = prot & PROT_EXEC ? MAP_WRITE : call ? EXCUSE : COMMIT;
	/*
	 * The stacks of threads, and what ntdll makes before the program's first call: the main thread's stack and tables for
	 * all of the address space, of which it uses little.
	 */
	if (action == COMMIT && size > STACK_COMMIT && from_ntdll(caller) && hooked & 1 << CREATE_THREAD &&
	    (!started || (call && call->kind == CREATE_THREAD))) {
		u64 commit = call && call->commit > STACK_COMMIT ? (call->commit + PAGE_SIZE - 1) & -PAGE_SIZE : STACK_COMMIT;

		stack = 1;
		if (commit < size)
			exempt = size - commit;
	}
	/* All of an image is writable at first, until its sections get their rights. */
	if (action == MAP_WRITE && from_ntdll(caller) && !over(counters->charged + counters->shared, limits->commit))
		forced = 1;
	/* Wine needs some memory to say that there is none. */
	if (hooked && (!started || (from_ntdll(caller) && !call)))
		forced = 1;
	mask = lock(blocked(start, caller));
	if (action == COMMIT || action == MAP_WRITE)
		change = (size - exempt) / PAGE_SIZE;
	if (action == EXCUSE && call && is_map(call) && !section_fits(fd, size))
		refused = 1;
	/* Usually nothing is there that has been charged already; only if there is not enough for all, it is looked. */
	if (change > 0 && !fits(change, forced)) {
		if (flags & MAP_FIXED && !exempt)
			change = range_change((unsigned long)start, size, action, 0);
		if (change < 0)
			change = 0;
		if (!charge(change, forced))
			refused = 1;
	}
	if (refused) {
		unlock(blocked(start, caller), mask);
		if (call)
			call->refused = 1;
		return (void *)(long)fail(-ENOMEM);
	}
	at = map(start, length, prot, flags, fd, offset);
	if (!IS_ERR(at)) {
		long really = 0;

		if (stack && exempt) {
			really = range_change((unsigned long)at, exempt, EXCUSE, 1);
			really += range_change((unsigned long)at + exempt, size - exempt, COMMIT, 1);
		} else {
			really = range_change((unsigned long)at, size, action, 1);
		}
		change -= really;
	}
	if (change > 0)
		uncharge(change);
	else if (change < 0)
		charge(-change, 1);
	unlock(blocked(start, caller), mask);
	return IS_ERR(at) ? (void *)(long)fail(at) : (void *)at;
}

EXPORT void *mmap(void *start, unsigned long size, int prot, int flags, int fd, long offset)
{
	return counted_mmap(start, size, prot, flags, fd, (unsigned long)offset, __builtin_return_address(0));
}

EXPORT void *mmap64(void *start, unsigned long size, int prot, int flags, int fd, i64 offset)
{
	return counted_mmap(start, size, prot, flags, fd, offset, __builtin_return_address(0));
}

EXPORT int munmap(void *start, unsigned long size)
{
	void *caller = __builtin_return_address(0);
	long result, change;
	u64 mask;

	if (!self->slot) {
		result = syscall2(__NR_munmap, start, size);
		return IS_ERR(result) ? fail(result) : 0;
	}
	mask = lock(blocked(start, caller));
	result = syscall2(__NR_munmap, start, size);
	if (!IS_ERR(result)) {
		change = range_change((unsigned long)start, ((u64)size + PAGE_SIZE - 1) & -PAGE_SIZE, RELEASE, 1);
		if (change < 0)
			uncharge(-change);
	}
	unlock(blocked(start, caller), mask);
	return IS_ERR(result) ? fail(result) : 0;
}

EXPORT int mprotect(void *start, unsigned long length, int prot)
{
	void *caller = __builtin_return_address(0);
	u64 size = ((u64)length + PAGE_SIZE - 1) & -PAGE_SIZE, mask;
	enum action action = prot == PROT_NONE ? PROTECT_NONE : prot & PROT_WRITE ? PROTECT_WRITE : PROTECT_READ;
	struct call *call = this_call();
	/* VirtualProtect never fails for want of memory: what it makes accessible has been committed before, on Windows. */
	int forced = from_ntdll(caller) && hooked & 1 << ALLOCATE && (!call || call->kind > ALLOCATE_EX);
	long result, change;

	if (!self->slot) {
		result = syscall3(__NR_mprotect, start, length, prot);
		return IS_ERR(result) ? fail(result) : 0;
	}
	mask = lock(blocked(start, caller));
	change = range_change((unsigned long)start, size, action, 0);
	if (change < 0)
		change = 0;
	if (change > 0 && !charge(change, forced)) {
		unlock(blocked(start, caller), mask);
		if (call)
			call->kept_from = 1;
		return fail(-ENOMEM);
	}
	result = syscall3(__NR_mprotect, start, length, prot);
	if (!IS_ERR(result))
		change -= range_change((unsigned long)start, size, action, 1);
	if (change > 0)
		uncharge(change);
	unlock(blocked(start, caller), mask);
	return IS_ERR(result) ? fail(result) : 0;
}

/* Called by the dynamic linker before the program's own code. */
static __attribute__((constructor, used)) void begin(void)
{
	find_limits();
	if (limits->asked != NO_COUNTING)
		join();
}

/* Called when the process ends in an orderly way. */
static __attribute__((destructor, used)) void end(void)
{
	struct slot *s = self->slot;

	if (!s)
		return;
	self = &none;
	__atomic_fetch_sub(&counters->charged, __atomic_exchange_n(&s->charged, 0, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
	__atomic_store_n(&s->pid, 0, __ATOMIC_RELEASE);
}
