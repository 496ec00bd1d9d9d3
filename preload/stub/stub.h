/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the preloader share: the facts of the machine, the way to
 * give up, and the loading of ELF images.
 */
#ifndef WINBOX_STUB_H
#define WINBOX_STUB_H

#include <asm/errno.h>
#include <asm/stat.h>
#include <asm/unistd.h>
#include <linux/elf.h>
#include <linux/limits.h>
#include <linux/mman.h>
#include <stddef.h>

#include "linux.h"

/* All symbols are resolved within the preloader; declared so, they need no offset table. */
#pragma GCC visibility push(hidden)

#if defined(__x86_64__)

typedef Elf64_Ehdr elf_header;
typedef Elf64_Phdr elf_segment;
typedef Elf64_Dyn elf_dynamic;
typedef Elf64_Sym elf_symbol;
typedef struct stat file_status;

#define ELF_CLASS ELFCLASS64
#define ELF_MACHINE EM_X86_64
#define ELF_KIND "an x86-64 ELF program"
#define MACHINE "amd64"

#define NR_FSTAT __NR_fstat
#define NR_FTRUNCATE __NR_ftruncate
#define NR_MMAP __NR_mmap
/* Operands of mmap(2), and of system calls with an offset in a file. */
#define MMAP_OFFSET(offset) (offset)
#define OFFSET(offset) (offset), 0

/*
 * The end of what mmap(2) hands out unasked: 47 bits less the guard page that
 * the kernel keeps (Documentation/arch/x86/x86_64/mm.rst). A machine with
 * 5-level page tables has 56 bits, but the kernel goes above 47 only for a
 * caller that passes such an address itself (5level-paging.rst), and nothing
 * in this process does. So what lies above is left alone there as well.
 */
#define USER_TOP 0x7ffffffff000ULL

/* The first address that Wine never gives to a 64-bit program. */
#define DEFAULT_LIMIT 0x7fffffff0000ULL

/*
 * What is reserved when nobody has made a plan: the ranges that a 64-bit
 * ntdll expects of its preloader. 0x68000000 to 0x7f000000 stays free because
 * Wine 8 links its loader at 0x7d000000.
 */
#define DEFAULT_RANGES                                                                                         \
	{ RESERVE, 0x10000, 0x68000000 },	    /* DOS area, programs and libraries with low bases */      \
	{ RESERVE, 0x7f000000, 0x7fff0000 },	    /* the top of 2 GiB, shared user data 0x7ffe0000 */        \
	{ RESERVE, 0x7ffffe000000, DEFAULT_LIMIT }, /* memory asked for from the top, ntdll's own tables */    \
	{ FILL, DEFAULT_LIMIT, USER_TOP }

#elif defined(__i386__)

typedef Elf32_Ehdr elf_header;
typedef Elf32_Phdr elf_segment;
typedef Elf32_Dyn elf_dynamic;
typedef Elf32_Sym elf_symbol;
typedef struct stat64 file_status;

#define ELF_CLASS ELFCLASS32
#define ELF_MACHINE EM_386
#define ELF_KIND "a 32-bit x86 ELF program"
#define MACHINE "386"

#define NR_FSTAT __NR_fstat64
#define NR_FTRUNCATE __NR_ftruncate64
#define NR_MMAP __NR_mmap2
/* mmap2(2) counts in pages, others take an offset in two halves (syscall(2)). */
#define MMAP_OFFSET(offset) ((offset) / PAGE_SIZE)
#define OFFSET(offset) (offset), (offset) >> 32

/*
 * The end of a 32-bit process on a 64-bit kernel: 4 GiB less two pages
 * (arch/x86/include/asm/page_64_types.h, IA32_PAGE_OFFSET).
 */
#define USER_TOP 0xffffe000ULL

/* The first address that a 32-bit Wine never gives to any program. */
#define DEFAULT_LIMIT 0xc0000000ULL

/* What is reserved without a plan: as above, and what a 32-bit ntdll expects beyond 2 GiB. The rest is for ELF code. */
#define DEFAULT_RANGES                                                                                       \
	{ RESERVE, 0x10000, 0x68000000 },    /* DOS area, programs and libraries */                          \
	{ RESERVE, 0x7f000000, 0x82000000 }, /* memory asked for from the top, ntdll's own tables */         \
	{ FILL, DEFAULT_LIMIT, 0xe0000000 }, { POOL, 0xe0000000, USER_TOP }

#else
#error "the preloader has not been taught this machine"
#endif

#define PAGE_SIZE 4096ULL
#define ALIGN_DOWN(x, to) ((x) & ~((u64)(to)-1))
#define ALIGN_UP(x, to) ALIGN_DOWN((x) + (to)-1, to)

/* Addresses are u64 on every machine, so that the end of a range never wraps. */
#define POINTER(address) ((void *)(unsigned long)(address))
#define ADDRESS(pointer) ((u64)(unsigned long)(pointer))

/* mmap(2), or what the machine has for it. Unsigned, because half of all 32-bit addresses are negative numbers. */
static inline unsigned long map(u64 start, u64 size, int prot, int flags, int fd, u64 offset)
{
	return syscall6(NR_MMAP, start, size, prot, flags, fd, MMAP_OFFSET(offset));
}

/* Ends the process with status 1 after one line that says what failed, on what, and (problem, detail) why. */
__attribute__((noreturn)) void die(const char *subject, const char *problem, const char *detail);

/* Puts a failed system call's result into words. */
const char *error_text(long result);

/* Writes "0xSTART-0xEND" for die(). */
#define RANGE_TEXT_SIZE 40
const char *range_text(char text[RANGE_TEXT_SIZE], u64 start, u64 end);

/* Program headers an image may have. The kernel allows 64 KiB of them; real loaders have about a dozen. */
#define MAX_SEGMENTS 64

struct image {
	const char *path;
	int fd;
	u64 start, end; /* pages the segments cover, before relocation */
	u64 align;	/* the largest alignment a segment asks for */
	u64 bias;	/* what relocation adds to every address; set by image_map */
	u64 size;	/* of the file */
	elf_header header;
	elf_segment segment[MAX_SEGMENTS];
};

/* Opens an ELF file and checks all that will be relied upon. */
void image_open(struct image *img, const char *path);

/* Whether the image may be put anywhere. */
static inline int image_moves(const struct image *img)
{
	return img->header.e_type == ET_DYN;
}

/* Maps the segments, moved by bias, and closes the file. */
void image_map(struct image *img, u64 bias);

/* Reads the path of the ELF interpreter; 0 if the image names none. */
int image_interpreter(const struct image *img, char path[PATH_MAX]);

/* Where the program headers are in memory. */
u64 image_headers(const struct image *img);

/* The address of an exported variable in the mapped image that has the given size, or NULL. */
void *image_variable(const struct image *img, const char *name, u64 size);

#pragma GCC visibility pop

#endif
