//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a process ends: what it says of an exception that nobody has handled, and with which exit code.
 *
 * Wine writes a line of its own before it starts the debugger, which prints ours (wine/boot/crash.c); it is left out here,
 * by write(2) in the place of the C library's. Where no debugger comes, the line is made into ours: a thread without a stack
 * starts none, and for what cannot be continued Wine asks for none.
 *
 * An exit code whose low eight bits are zero would be 0 for who waits for the process: Wine makes it 1. Process 1 sees all bits,
 * and so Wine's code is put back, which stands in the request that has told it to the wineserver just before.
 *
 * A process that another one ends (TerminateProcess) gets a signal from the wineserver, or the end of its wait for it; with the
 * signal it ends with 0, as it is not told the code. So the other one leaves the code in a file of the container before it asks
 * the wineserver. Of two at once one may get the other's.
 */
#include "exception.h"
#include "quota.h"

#define STDERR 2
#define STACK_OVERFLOW 0xc00000fdU

/* What Wine says (dlls/kernelbase/debug.c and dlls/ntdll/unix/signal_*.c of Wine 8 and 10). */
static const char unhandled[] = "wine: Unhandled ", debugger[] = "starting debugger...\n", overflow[] = "stack overflow at address ",
		  failed[] = "Couldn't start debugger", raised[] = ":NtRaiseException Unhandled exception code ", address[] = " addr ";

/* The line that is left out, should there be no debugger after all. */
static char held[512];
static u32 held_size;

/*
 * The last request of fixed size that this thread has sent, as Wine's protocol has it (server/protocol.def): what is asked for, the
 * sizes of what follows and of what may follow the reply, and the arguments. What is not used of it is zero.
 */
struct request {
	u32 kind, size, reply_size, handle, exit_code, rest[11];
};
static __thread struct {
	u32 handle, exit_code;
} last;

/* The request that ends a process, in Wine 7 to 10 (include/wine/server_protocol.h), and the handle of the process itself. */
#define TERMINATE_PROCESS 7
#define SELF (~0U)

/* The exit code of the last process that another one has ended. */
#define ENDED_PATH "/run/winbox/quota/ended"

/* Where a text has another in it, or NULL. */
static const char *find(const char *text, u32 size, const char *what)
{
	u32 n = string_length(what);

	for (u32 i = 0; i + n <= size; i++) {
		u32 j = 0;

		while (j < n && text[i + j] == what[j])
			j++;
		if (j == n)
			return text + i;
	}
	return NULL;
}

static u64 hexadecimal(const char *s, const char *end)
{
	u64 value = 0;

	if (s + 2 < end && s[0] == '0' && s[1] == 'x')
		s += 2;
	for (; s < end; s++) {
		char c = *s | 0x20;

		if (c >= '0' && c <= '9')
			value = value << 4 | (u32)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (u32)(c - 'a' + 10);
		else
			break;
	}
	return value;
}

/* The memory of a process that has crashed may lead anywhere: it is read by way of /proc/self/mem. */
struct memory {
	long fd;
	u32 wide; /* whether it is that of a 64-bit program */
};

static u64 number(const struct memory *m, u64 at, u32 size)
{
	u64 value = 0;

#if defined(__x86_64__)
	syscall4(__NR_pread64, m->fd, &value, size, at);
#else
	syscall5(__NR_pread64, m->fd, &value, size, (u32)at, (u32)(at >> 32));
#endif
	return value;
}

static u64 pointer(const struct memory *m, u64 at)
{
	return number(m, at, m->wide ? 8 : 4);
}

/* The name of a module, by its entry in the list of the loader. */
static void add_module(struct text *t, const struct memory *m, u64 entry)
{
	u64 name = entry + (m->wide ? 0x58 : 0x2c), from = pointer(m, name + (m->wide ? 8 : 4));
	u32 size = number(m, name, 2);

	for (u32 i = 0; i < size / 2 && i < 260; i++) {
		char c[4];

		put_character(c, number(m, from + 2 * i, 2));
		add_string(t, c);
	}
}

/* The entry of the module at an address, or of the first one, which is the program, for 0; 0 if there is none. */
static u64 find_module(const struct memory *m, u64 list, u64 at, u64 *base)
{
	u64 entry = pointer(m, list);

	for (u32 i = 0; entry && entry != list && i < 1000; i++, entry = pointer(m, entry)) {
		*base = pointer(m, entry + (m->wide ? 0x30 : 0x18));
		if (!at || (at >= *base && at - *base < number(m, entry + (m->wide ? 0x40 : 0x20), 4)))
			return entry;
	}
	return 0;
}

/* PEB.Ldr, and in that InLoadOrderModuleList (winternl.h). */
static u64 modules(const struct memory *m, u64 peb)
{
	return pointer(m, peb + (m->wide ? 0x18 : 0xc)) + (m->wide ? 0x10 : 0xc);
}

/* Prints the line that crash.c would. */
static void describe(u32 code, u64 at)
{
	struct memory m = { 0 };
	struct text t = { 0 };
	unsigned long teb;
	u64 list, other = 0, entry, base = 0;

	m.fd = syscall3(__NR_open, "/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
	m.wide = sizeof(long) == 8;
	/* The TEB is where its own segment is, also in ELF code, and has its address in it. */
#if defined(__x86_64__)
	__asm__("movq %%gs:0x30, %0" : "=r"(teb));
#else
	__asm__("movl %%fs:0x18, %0" : "=r"(teb));
#endif
	list = modules(&m, pointer(&m, teb + (m.wide ? 0x60 : 0x30)));
	if (m.wide) {
		i32 offset = (i32)number(&m, teb + 0x180c, 4); /* WowTebOffset: there is a 32-bit TEB */

		if (offset) {
			m.wide = 0;
			other = modules(&m, pointer(&m, teb + offset + 0x30));
			m.wide = 1;
		}
	}
	add_string(&t, "winbox: ");
	if ((entry = find_module(&m, list, 0, &base)))
		add_module(&t, &m, entry);
	else
		add_char(&t, '?');
	add_string(&t, ": ");
	add_string(&t, exception_words(code));
	add_string(&t, " (0x");
	for (u32 shift = 32; shift; shift -= 4)
		add_char(&t, "0123456789ABCDEF"[code >> (shift - 4) & 0xf]);
	add_string(&t, ") at 0x");
	add_number(&t, at, 16, 1);
	if (!(entry = find_module(&m, list, at ? at : 1, &base)) && other) {
		m.wide = 0;
		entry = find_module(&m, other, at ? at : 1, &base);
	}
	if (entry) {
		add_string(&t, " in ");
		add_module(&t, &m, entry);
		add_string(&t, "+0x");
		add_number(&t, at - base, 16, 1);
	}
	add_char(&t, '\n');
	syscall3(__NR_write, STDERR, t.at, t.size);
	if (!IS_ERR(m.fd))
		syscall1(__NR_close, m.fd);
}

/* Ends the process as TerminateProcess does, by a function of the ntdll.so that called. Returns when there is none. */
static void terminate(void *caller, u32 code)
{
	struct module module;
	void *handle, *function;

	if (!dladdr || !dlopen || !dlsym || !dladdr(caller, &module) || !module.file)
		return;
	handle = dlopen(module.file, RTLD_LOADED);
	function = handle ? dlsym(handle, "NtTerminateProcess") : NULL;
	if (!function)
		return;
#if defined(__x86_64__)
	/* The arguments are where Windows' convention and System V's have them (see calls.S), with the room on the stack that the one
	 * leaves and the other wants left alone. */
	__asm__ volatile("movq %%rsp, %%rbx\n\tsubq $160, %%rsp\n\tandq $-16, %%rsp\n\tcall *%%rax\n\tmovq %%rbx, %%rsp"
			 : "+a"(function)
			 : "c"(-1L), "d"((long)code), "D"(-1L), "S"((long)code)
			 : "rbx", "r8", "r9", "r10", "r11", "memory", "cc");
#else
	((int __attribute__((stdcall)) (*)(long, u32))function)(-1, code);
#endif
}

/* Whether what Wine says of a crash need not be written, as ours is, or will be. */
static int replaced(const char *text, u32 size, void *caller)
{
	const u32 tail = sizeof(debugger) - 1;
	const char *s, *end = text + size;

	if (size > tail && size <= sizeof(held) && find(text, sizeof(unhandled) - 1, unhandled) &&
	    find(end - tail, tail, debugger)) {
		if ((s = find(text, size, overflow))) {
			describe(STACK_OVERFLOW, hexadecimal(s + sizeof(overflow) - 1, end));
			terminate(caller, STACK_OVERFLOW);
		} else {
			memcpy(held, text, size);
			held_size = size;
		}
		return 1;
	}
	if (held_size && find(text, size, failed)) {
		syscall3(__NR_write, STDERR, held, held_size);
		held_size = 0;
	}
	if (size < sizeof(held) && (s = find(text, size, raised))) {
		const char *at = find(s, end - s, address);

		describe(hexadecimal(s + sizeof(raised) - 1, end), at ? hexadecimal(at + sizeof(address) - 1, end) : 0);
		return 1;
	}
	return 0;
}

/* Leaves the exit code for a process that this one is about to end. */
static void note_end(const struct request *r)
{
	u32 used = r->size | r->reply_size;
	long fd;

	for (u32 i = 0; i < sizeof(r->rest) / sizeof(r->rest[0]); i++)
		used |= r->rest[i];
	/* Handles are multiples of four, of which 0 stands for all threads of the process itself but this one. */
	if (r->kind != TERMINATE_PROCESS || used || !r->handle || r->handle & 3)
		return;
	fd = syscall3(__NR_open, ENDED_PATH, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (!IS_ERR(fd)) {
		syscall3(__NR_write, fd, &r->exit_code, sizeof(r->exit_code));
		syscall1(__NR_close, fd);
	}
}

/* write(2) */
EXPORT long write(int fd, const void *data, unsigned long size)
{
	long result;

	if (size == sizeof(struct request)) {
		const struct request *request = data;

		last.handle = request->handle;
		last.exit_code = request->exit_code;
		note_end(request);
	} else if (fd == STDERR && replaced(data, size, __builtin_return_address(0))) {
		return size;
	}
	result = syscall3(__NR_write, fd, data, size);
	return IS_ERR(result) ? fail(result) : result;
}

/* The exit code of this process, where Wine's may not be it. */
static int exact(int code)
{
	u32 whole = last.exit_code;
	long fd;

	if (code != 0 && code != 1)
		return code;
	if (last.handle != SELF) {
		fd = syscall3(__NR_open, ENDED_PATH, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
		if (IS_ERR(fd))
			return code;
		if (syscall3(__NR_read, fd, &whole, sizeof(whole)) != sizeof(whole))
			whole = (u32)code;
		syscall1(__NR_close, fd);
	}
	return code == 0 || (whole && !(whole & 0xff)) ? (int)whole : code;
}

/* exit(3): a program that ends */
EXPORT __attribute__((noreturn)) void exit(int code)
{
	__attribute__((noreturn)) void (*real)(int) = dlsym(RTLD_NEXT, "exit");

	real(exact(code));
}

/* _exit(2): one that ends itself by TerminateProcess */
EXPORT __attribute__((noreturn)) void _exit(int code)
{
	for (;;)
		syscall1(__NR_exit_group, exact(code));
}
