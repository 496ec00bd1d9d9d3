/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program needs that runs without a C library: raw Linux system calls
 * and the few memory and string functions that GCC expects to find.
 * Shared by sandbox/init (process 1 of a container) and preload/stub.
 *
 * System calls return -errno on failure, as the kernel does (syscall(2)).
 */
#ifndef WINBOX_FREESTANDING_LINUX_H
#define WINBOX_FREESTANDING_LINUX_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef short i16;
typedef int i32;
typedef long long i64;

/* The largest errno a system call can return, negated (include/linux/err.h, MAX_ERRNO). */
#define MAX_ERRNO 4095
#define IS_ERR(r) ((unsigned long)(r) > (unsigned long)-(MAX_ERRNO + 1L))

#if defined(__x86_64__)

/* The x86-64 calling convention of the kernel: number in rax, operands in rdi rsi rdx r10 r8 r9; rcx and r11 are lost. */
static inline long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#elif defined(__i386__)

/*
 * That of i386: number in eax, operands in ebx ecx edx esi edi ebp. The last one is saved and loaded by hand, since it
 * may be the frame pointer; a constant offset from the stack pointer reaches both.
 */
static inline long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;

	__asm__ volatile("pushl %[f]\n\t"
			 "pushl %%ebp\n\t"
			 "movl 4(%%esp), %%ebp\n\t"
			 "int $0x80\n\t"
			 "popl %%ebp\n\t"
			 "addl $4, %%esp"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "g"(f)
			 : "memory", "cc");
	return ret;
}

#else
#error "no system call convention for this machine"
#endif

#define syscall0(nr) syscall6(nr, 0, 0, 0, 0, 0, 0)
#define syscall1(nr, a) syscall6(nr, (long)(a), 0, 0, 0, 0, 0)
#define syscall2(nr, a, b) syscall6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define syscall3(nr, a, b, c) syscall6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define syscall4(nr, a, b, c, d) syscall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define syscall5(nr, a, b, c, d, e) syscall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* GCC may call these four even in freestanding code (GCC manual, "Standards"). */
static inline __attribute__((unused)) void *memcpy(void *to, const void *from, unsigned long n)
{
	void *d = to;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

static inline __attribute__((unused)) void *memset(void *to, int value, unsigned long n)
{
	void *d = to;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(value) : "memory");
	return to;
}

static inline __attribute__((unused)) unsigned long string_length(const char *s)
{
	unsigned long n = 0;

	while (s[n])
		n++;
	return n;
}

#endif
