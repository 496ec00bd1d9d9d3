/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the preloader share: the facts of the machine, the way to
 * give up, and the loading of ELF images.
 */
#ifndef WINBOX_STUB_H
#define WINBOX_STUB_H

#include <asm/errno.h>
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

#define ELF_CLASS ELFCLASS64
#define ELF_MACHINE EM_X86_64
#define ELF_KIND "an x86-64 ELF program"

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
#define DEFAULT_RANGES                                                                                        \
	{ 0x10000, 0x68000000 },	   /* DOS area, programs and libraries with low bases */              \
	{ 0x7f000000, 0x7fff0000 },	   /* top of a 32-bit program's 2 GiB, shared user data 0x7ffe0000 */ \
	{ 0x7ffffe000000, 0x7fffffff0000 } /* memory asked for from the top, ntdll's own tables */

#else
#error "the preloader has not been taught this machine"
#endif

#define PAGE_SIZE 4096ULL
#define ALIGN_DOWN(x, to) ((x) & ~((u64)(to)-1))
#define ALIGN_UP(x, to) ALIGN_DOWN((x) + (to)-1, to)

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
