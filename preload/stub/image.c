//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps an ELF image the way the kernel does at execve (elf(5), fs/binfmt_elf.c).
 *
 * An image is checked before anything of it is mapped. Nothing is ever mapped
 * over something else: every mapping uses MAP_FIXED_NOREPLACE, so segments
 * that overlap each other, the preloader, the stack or the vdso are refused by
 * the kernel itself.
 */
#include <asm/fcntl.h>
#include <linux/stat.h>

#include "stub.h"

#ifndef DT_GNU_HASH
#define DT_GNU_HASH 0x6ffffef5
#endif

/* 1 GiB, the largest page x86 has; more makes no sense and could push an image out of the zone kept for it. */
#define MAX_ALIGN (1ULL << 30)

/* Reads part of the file; what is not there makes the image invalid. */
static void read_at(const struct image *img, void *to, u64 size, u64 offset)
{
	/* pread64(2): the headers lie at offsets that the file names itself. */
	long got = syscall6(__NR_pread64, img->fd, (long)to, size, OFFSET(offset), 0);

	if (IS_ERR(got))
		die(img->path, "cannot be read: ", error_text(got));
	if ((u64)got != size)
		die(img->path, "is truncated", "");
}

static void check_header(const struct image *img)
{
	const elf_header *h = &img->header;

	if (h->e_ident[EI_MAG0] != ELFMAG0 || h->e_ident[EI_MAG1] != ELFMAG1 || h->e_ident[EI_MAG2] != ELFMAG2 ||
	    h->e_ident[EI_MAG3] != ELFMAG3)
		die(img->path, "is not an ELF file", "");
	if (h->e_ident[EI_CLASS] != ELF_CLASS || h->e_ident[EI_DATA] != ELFDATA2LSB ||
	    h->e_ident[EI_VERSION] != EV_CURRENT || h->e_machine != ELF_MACHINE)
		die(img->path, "is not " ELF_KIND, "");
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		die(img->path, "is neither an ELF executable nor position-independent", "");
	if (h->e_phentsize != sizeof(elf_segment))
		die(img->path, "has program headers of the wrong size", "");
	if (h->e_phnum == 0 || h->e_phnum > MAX_SEGMENTS)
		die(img->path, "has no program headers or more than 64", "");
}

static void check_segment(struct image *img, const elf_segment *seg)
{
	if (seg->p_filesz > seg->p_memsz)
		die(img->path, "has a segment with more bytes in the file than in memory", "");
	if (seg->p_vaddr >= USER_TOP || seg->p_memsz > USER_TOP - seg->p_vaddr)
		die(img->path, "has a segment outside the address space", "");
	if (seg->p_offset > img->size || seg->p_filesz > img->size - seg->p_offset)
		die(img->path, "is truncated: a segment ends after the file", "");
	if ((seg->p_vaddr - seg->p_offset) % PAGE_SIZE)
		die(img->path, "has a segment whose address and file offset are not on the same place of a page", "");
	if (seg->p_align & (seg->p_align - 1) || seg->p_align > MAX_ALIGN)
		die(img->path, "has a segment with an alignment that is not a power of two, or above 1 GiB", "");
	if (img->end > ALIGN_DOWN(seg->p_vaddr, PAGE_SIZE))
		die(img->path, "has segments that overlap or are out of order", "");
}

void image_open(struct image *img, const char *path)
{
	file_status status;
	int entry_found = 0;
	long ret;

	img->path = path;
	img->start = img->end = 0;
	img->align = PAGE_SIZE;
	/* open(2): the file is read and mapped. O_NONBLOCK, so that a FIFO is refused rather than waited for. */
	ret = syscall3(__NR_open, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (IS_ERR(ret))
		die(path, "cannot be opened: ", error_text(ret));
	img->fd = ret;
	/* fstat(2): only a regular file can be mapped, and touching a page beyond its end would be a SIGBUS later. */
	ret = syscall2(NR_FSTAT, img->fd, &status);
	if (IS_ERR(ret))
		die(path, "cannot be examined: ", error_text(ret));
	if (!S_ISREG(status.st_mode))
		die(path, "is not a regular file", "");
	img->size = status.st_size;

	read_at(img, &img->header, sizeof(img->header), 0);
	check_header(img);
	read_at(img, img->segment, img->header.e_phnum * sizeof(elf_segment), img->header.e_phoff);

	for (int i = 0; i < img->header.e_phnum; i++) {
		const elf_segment *seg = &img->segment[i];

		if (seg->p_type != PT_LOAD || seg->p_memsz == 0)
			continue;
		check_segment(img, seg);
		if (img->end == 0)
			img->start = ALIGN_DOWN(seg->p_vaddr, PAGE_SIZE);
		img->end = ALIGN_UP(seg->p_vaddr + seg->p_memsz, PAGE_SIZE);
		if (seg->p_align > img->align)
			img->align = seg->p_align;
		if (seg->p_flags & PF_X && img->header.e_entry >= seg->p_vaddr &&
		    img->header.e_entry - seg->p_vaddr < seg->p_memsz)
			entry_found = 1;
	}
	if (img->end == 0)
		die(path, "has nothing to load: no PT_LOAD segment", "");
	if (!entry_found)
		die(path, "has its entry point outside its executable segments", "");
}

static void map_pages(const struct image *img, u64 start, u64 end, int prot, int flags, int fd, u64 offset)
{
	/* mmap(2): brings in one segment, or the zero pages that follow its bytes. */
	unsigned long got = map(start, end - start, prot, MAP_FIXED_NOREPLACE | MAP_PRIVATE | flags, fd, offset);
	char text[RANGE_TEXT_SIZE];

	if (got == start)
		return;
	/* A kernel before 4.17 does not know the flag and maps somewhere else. */
	if (!IS_ERR(got) || got == (unsigned long)-EEXIST)
		die(img->path, "has a segment where memory is in use: ", range_text(text, start, end));
	die(img->path, "cannot be mapped: ", error_text(got));
}

static void map_segment(const struct image *img, const elf_segment *seg)
{
	u64 start = ALIGN_DOWN(img->bias + seg->p_vaddr, PAGE_SIZE);
	u64 file_end = img->bias + seg->p_vaddr + seg->p_filesz;
	u64 file_pages_end = ALIGN_UP(file_end, PAGE_SIZE);
	u64 end = ALIGN_UP(img->bias + seg->p_vaddr + seg->p_memsz, PAGE_SIZE);
	int prot = 0;

	if (seg->p_flags & PF_R)
		prot |= PROT_READ;
	if (seg->p_flags & PF_W)
		prot |= PROT_WRITE;
	if (seg->p_flags & PF_X)
		prot |= PROT_EXEC;

	if (seg->p_filesz == 0)
		file_pages_end = start;
	else
		map_pages(img, start, file_pages_end, prot, 0, img->fd, ALIGN_DOWN(seg->p_offset, PAGE_SIZE));
	/* What follows in the last page is the start of the zeroes, except where nobody may write. */
	if (seg->p_memsz > seg->p_filesz && seg->p_filesz != 0 && prot & PROT_WRITE)
		memset(POINTER(file_end), 0, file_pages_end - file_end);
	if (end > file_pages_end)
		map_pages(img, file_pages_end, end, prot, MAP_ANONYMOUS, -1, 0);
}

void image_map(struct image *img, u64 bias)
{
	img->bias = bias;
	for (int i = 0; i < img->header.e_phnum; i++)
		if (img->segment[i].p_type == PT_LOAD && img->segment[i].p_memsz != 0)
			map_segment(img, &img->segment[i]);
	/* close(2): the mappings stay. */
	syscall1(__NR_close, img->fd);
}

int image_interpreter(const struct image *img, char path[PATH_MAX])
{
	for (int i = 0; i < img->header.e_phnum; i++) {
		const elf_segment *seg = &img->segment[i];

		if (seg->p_type != PT_INTERP)
			continue;
		if (seg->p_filesz < 2 || seg->p_filesz > PATH_MAX)
			die(img->path, "names its ELF interpreter in too few or too many bytes", "");
		read_at(img, path, seg->p_filesz, seg->p_offset);
		if (path[seg->p_filesz - 1] != 0)
			die(img->path, "names its ELF interpreter without an end", "");
		return 1;
	}
	return 0;
}

u64 image_headers(const struct image *img)
{
	u64 offset = img->header.e_phoff;

	for (int i = 0; i < img->header.e_phnum; i++) {
		const elf_segment *seg = &img->segment[i];

		if (seg->p_type == PT_LOAD && offset >= seg->p_offset && offset - seg->p_offset < seg->p_filesz)
			return img->bias + seg->p_vaddr + (offset - seg->p_offset);
	}
	die(img->path, "does not load its own program headers", "");
}

/* A pointer to size bytes of the mapped image if one segment with these rights holds them all, or NULL. */
static void *inside(const struct image *img, u64 address, u64 size, u32 rights)
{
	for (int i = 0; i < img->header.e_phnum; i++) {
		const elf_segment *seg = &img->segment[i];
		u64 into = address - img->bias - seg->p_vaddr;

		if (seg->p_type == PT_LOAD && (seg->p_flags & rights) == rights && into <= seg->p_memsz &&
		    size <= seg->p_memsz - into)
			return POINTER(address);
	}
	return NULL;
}

/* The tables of the dynamic section, as addresses in memory (elf(5), "Dynamic tags"). */
struct symbols {
	const struct image *img;
	const char *name;
	u64 name_size; /* with the zero at its end */
	u64 symtab, strtab, hash, gnu_hash;
};

static int same_name(const struct symbols *s, const elf_symbol *sym)
{
	const char *name = inside(s->img, s->strtab + sym->st_name, s->name_size, PF_R);

	if (!name)
		return 0;
	for (u64 i = 0; i < s->name_size; i++)
		if (name[i] != s->name[i])
			return 0;
	return 1;
}

/* The symbol of this index if it defines a variable of the name looked for, or NULL. */
static const elf_symbol *candidate(const struct symbols *s, u32 index)
{
	const elf_symbol *sym = inside(s->img, s->symtab + (u64)index * sizeof(*sym), sizeof(*sym), PF_R);

	if (!sym || sym->st_shndx == SHN_UNDEF || ELF_ST_TYPE(sym->st_info) != STT_OBJECT || !same_name(s, sym))
		return NULL;
	return sym;
}

/* Follows DT_HASH: buckets of symbol indices, each continued through a parallel array (System V gABI, "Hash Table"). */
static const elf_symbol *find_sysv(const struct symbols *s)
{
	const u32 *head = inside(s->img, s->hash, 2 * sizeof(u32), PF_R);
	const u32 *entry;
	const elf_symbol *sym;
	u32 hash = 0;

	if (!head || head[0] == 0)
		return NULL;
	for (const char *c = s->name; *c; c++) {
		hash = (hash << 4) + (u8)*c;
		hash = (hash ^ ((hash & 0xf0000000) >> 24)) & 0x0fffffff;
	}
	entry = inside(s->img, s->hash + (2 + (u64)(hash % head[0])) * sizeof(u32), sizeof(u32), PF_R);
	/* Counted, because a broken table can lead in a circle. */
	for (u32 steps = 0; entry && *entry && steps < head[1]; steps++) {
		sym = candidate(s, *entry);
		if (sym)
			return sym;
		entry = inside(s->img, s->hash + (2 + (u64)head[0] + *entry) * sizeof(u32), sizeof(u32), PF_R);
	}
	return NULL;
}

/* Follows DT_GNU_HASH: buckets hold the first index of a run whose last hash has its lowest bit set. */
static const elf_symbol *find_gnu(const struct symbols *s)
{
	const u32 *head = inside(s->img, s->gnu_hash, 4 * sizeof(u32), PF_R);
	const u32 *entry;
	const elf_symbol *sym;
	u64 buckets, chains;
	u32 hash = 5381, index;

	if (!head || head[0] == 0)
		return NULL;
	for (const char *c = s->name; *c; c++)
		hash = hash * 33 + (u8)*c;
	/* After the head comes a Bloom filter of head[2] words; one look-up does not pay for it. */
	buckets = s->gnu_hash + 4 * sizeof(u32) + (u64)head[2] * sizeof(unsigned long);
	chains = buckets + (u64)head[0] * sizeof(u32);
	entry = inside(s->img, buckets + (u64)(hash % head[0]) * sizeof(u32), sizeof(u32), PF_R);
	if (!entry || *entry < head[1])
		return NULL;
	for (index = *entry;; index++) {
		entry = inside(s->img, chains + (u64)(index - head[1]) * sizeof(u32), sizeof(u32), PF_R);
		if (!entry)
			return NULL;
		if ((*entry | 1) == (hash | 1)) {
			sym = candidate(s, index);
			if (sym)
				return sym;
		}
		if (*entry & 1)
			return NULL;
	}
}

void *image_variable(const struct image *img, const char *name, u64 size)
{
	struct symbols s = { .img = img, .name = name, .name_size = string_length(name) + 1 };
	const elf_segment *dynamic = NULL;
	const elf_symbol *sym = NULL;
	const elf_dynamic *dyn;

	for (int i = 0; i < img->header.e_phnum; i++)
		if (img->segment[i].p_type == PT_DYNAMIC)
			dynamic = &img->segment[i];
	if (!dynamic)
		return NULL;
	for (u64 at = 0; at + sizeof(*dyn) <= dynamic->p_memsz; at += sizeof(*dyn)) {
		dyn = inside(img, img->bias + dynamic->p_vaddr + at, sizeof(*dyn), PF_R);
		if (!dyn || dyn->d_tag == DT_NULL)
			break;
		if (dyn->d_tag == DT_SYMTAB)
			s.symtab = img->bias + dyn->d_un.d_ptr;
		else if (dyn->d_tag == DT_STRTAB)
			s.strtab = img->bias + dyn->d_un.d_ptr;
		else if (dyn->d_tag == DT_HASH)
			s.hash = img->bias + dyn->d_un.d_ptr;
		else if (dyn->d_tag == DT_GNU_HASH)
			s.gnu_hash = img->bias + dyn->d_un.d_ptr;
	}
	if (s.gnu_hash)
		sym = find_gnu(&s);
	else if (s.hash)
		sym = find_sysv(&s);
	if (!sym || sym->st_size != size)
		return NULL;
	return inside(img, img->bias + sym->st_value, size, PF_R | PF_W);
}
