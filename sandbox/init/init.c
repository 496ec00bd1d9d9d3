//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a container: it carries out the program that
 * sandbox/program has compiled from the bundle, and then becomes the
 * container's process, or stays as process 1 to supervise it.
 *
 * It is started from a sealed memfd in the new namespaces, with the number of
 * the descriptor that holds the encoded program as its only argument. It links
 * against nothing, keeps no state but the registers of the program, and makes
 * no system call of its own accord except those explained here.
 *
 * The encoded form is described in sandbox/program/encode.go.
 */
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/signal.h>

#include "../../internal/freestanding/linux.h"

enum op { OP_SYSCALL, OP_CLONE, OP_STORE, OP_LOAD, OP_CHANNEL, OP_FAIL, OP_SUPERVISE };
enum kind { IMMEDIATE, DATA, REGISTER };
enum report { REPORT_ERROR = 1, REPORT_PID = 2 };

#define FLAG_NONZERO 1

struct header {
	char magic[8];
	u32 control, instructions, registers, relocations, data, zero;
};

struct instruction {
	u32 op, number;
	u16 dst, flags, on_ok, on_error;
	u16 tolerate[4];
	u8 kind[8];
	u64 arg[6];
};

/* From linux/mman.h, linux/fcntl.h, linux/wait.h and linux/socket.h, which do not go together with the above. */
#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_PRIVATE 2
#define SEEK_END 2
#define WNOHANG 1
#define MSG_NOSIGNAL 0x4000

static __attribute__((noreturn)) void exit_process(int code)
{
	for (;;)
		syscall1(__NR_exit_group, code); /* exit_group(2): ends all threads, of which there is one */
}

/* Sends a report (program.ReportSize bytes). MSG_NOSIGNAL: a runtime that has died must not kill the container. */
static void report(int channel, u32 kind, u32 index, u64 value)
{
	struct {
		u32 kind, index;
		u64 value;
	} r = { kind, index, value };

	syscall6(__NR_sendto, channel, (long)&r, sizeof(r), MSG_NOSIGNAL, 0, 0);
}

static __attribute__((noreturn)) void fail(int channel, u32 index, long err)
{
	report(channel, REPORT_ERROR, index, (u64)-err);
	exit_process(1);
}

/* What a supervised program's parent knows of it. */
struct child {
	long pid;
	int status; /* as wait4 gives it, once the child is gone */
	int gone;
};

/* Waits for every process that has ended; returns 0 when none is left at all. */
static int reap(struct child *main_child)
{
	for (;;) {
		int status = 0;
		/* wait4(2) with -1: whatever has been orphaned in the container belongs to process 1. */
		long pid = syscall4(__NR_wait4, -1, &status, WNOHANG, 0);

		if (pid == -ECHILD)
			return 0;
		if (pid <= 0)
			return 1;
		if (pid == main_child->pid) {
			main_child->gone = 1;
			main_child->status = status;
		}
	}
}

/*
 * Process 1 of a Windows container: passes signals on to the program, reaps
 * what is orphaned, and when the program has ended lets the wineserver write
 * the registry before everything else dies with process 1 (pid_namespaces(7)).
 */
static __attribute__((noreturn)) void supervise(int channel, u32 index, const char *path, long argv, long envp, u64 grace)
{
	struct child child = { 0, 0, 0 };
	u64 all = ~0ULL, none = 0;
	struct timespec {
		i64 sec, nsec;
	} left = { (i64)(grace / 1000), (i64)(grace % 1000) * 1000000 };
	/* The head of siginfo_t (sigaction(2)). */
	struct {
		i32 signo, err, code, pad[29];
	} info;
	long signal;

	/*
	 * All signals are blocked and taken one by one with rt_sigtimedwait(2):
	 * process 1 gets only those it has a handler for or has blocked, and a
	 * handler would need a return trampoline.
	 */
	syscall4(__NR_rt_sigprocmask, SIG_BLOCK, &all, 0, sizeof(all));
	/* clone(2) without CLONE_VM is fork(2). */
	child.pid = syscall5(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (IS_ERR(child.pid))
		fail(channel, index, child.pid);
	if (child.pid == 0) {
		long err;

		syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
		err = syscall3(__NR_execve, path, argv, envp);
		fail(channel, index, err);
	}
	/*
	 * close_range(2): the standard streams end with the program, not with
	 * process 1, and the channel's end of file tells that execve succeeded.
	 */
	syscall3(__NR_close_range, 0, ~0U, 0);
	while (!child.gone) {
		signal = syscall4(__NR_rt_sigtimedwait, &all, &info, 0, sizeof(all));
		if (signal == SIGCHLD)
			reap(&child);
		else if (signal > 0 && info.code != SI_KERNEL)
			/*
			 * kill(2): what was meant for the container is meant for the program. What the
			 * kernel's terminal sends (SI_KERNEL), the program has got already.
			 */
			syscall2(__NR_kill, child.pid, signal);
	}
	/* kill(2) with -1: every process of this pid namespace but the caller. SIGTERM makes a wineserver save the registry. */
	if (grace && reap(&child)) {
		syscall2(__NR_kill, -1, SIGTERM);
		while (reap(&child) && syscall4(__NR_rt_sigtimedwait, &all, 0, &left, sizeof(all)) != -EAGAIN)
			;
	}
	/* The status of wait4(2): a signal in the low seven bits, else the exit code in the next eight. */
	exit_process(child.status & 0x7f ? 128 + (child.status & 0x7f) : child.status >> 8 & 0xff);
}

static int tolerated(const struct instruction *in, long result)
{
	int i;

	for (i = 0; i < 4; i++)
		if (in->tolerate[i] && result == -(long)in->tolerate[i])
			return 1;
	return 0;
}

static __attribute__((noreturn)) void run(u8 *base)
{
	struct header *h = (struct header *)base;
	struct instruction *list = (struct instruction *)(h + 1);
	i64 *registers = (i64 *)(list + h->instructions);
	u32 *relocations = (u32 *)(registers + h->registers);
	u8 *data = (u8 *)(relocations + ((h->relocations + 1) & ~1U));
	int channel = (int)h->control;
	u32 i;

	for (i = 0; i < h->relocations; i++)
		*(u64 *)(data + relocations[i]) += (u64)data;
	for (i = 0; i < h->instructions;) {
		struct instruction *in = &list[i];
		long a[6], result = 0;
		int n;

		for (n = 0; n < 6; n++)
			a[n] = in->kind[n] == REGISTER ? registers[in->arg[n]]
			     : in->kind[n] == DATA     ? (long)(data + in->arg[n])
						       : (long)in->arg[n];
		switch (in->op) {
		case OP_SYSCALL:
			result = syscall6(in->number, a[0], a[1], a[2], a[3], a[4], a[5]);
			break;
		case OP_CLONE:
			/* clone(2) without CLONE_VM is fork(2) into the namespaces of the flags. */
			result = syscall5(__NR_clone, a[0], 0, 0, 0, 0);
			if (!IS_ERR(result) && result != 0) {
				report(channel, REPORT_PID, i, (u64)result);
				exit_process(0);
			}
			break;
		case OP_STORE:
			*(i32 *)a[0] = (i32)a[1];
			break;
		case OP_LOAD:
			result = *(u32 *)a[0] & a[1];
			break;
		case OP_CHANNEL:
			channel = (int)a[0];
			break;
		case OP_FAIL:
			result = -a[0];
			break;
		case OP_SUPERVISE:
			supervise(channel, i, (const char *)a[0], a[1], a[2], (u64)a[3]);
		default:
			result = -ENOSYS;
		}
		if (!IS_ERR(result) && (result != 0 || !(in->flags & FLAG_NONZERO))) {
			registers[in->dst] = result;
			i = in->on_ok;
			continue;
		}
		if (result == 0)
			result = -ECONNRESET; /* the runtime has died before it let the container go on */
		if (!tolerated(in, result))
			fail(channel, i, result);
		i = in->on_error;
	}
	/* A program ends in execve or supervise; one that does not is a bug of the compiler. */
	fail(channel, h->instructions, -ENOEXEC);
}

__attribute__((noreturn, used)) void start(long *stack)
{
	const char *arg = (const char *)stack[2]; /* argv[1]: stack[0] is argc */
	long fd = 0, size, base;

	while (*arg)
		fd = fd * 10 + (*arg++ - '0');
	/* lseek(2) gives the size of the memfd; mmap(2) maps it privately, as registers and pointers are written into it. */
	size = syscall3(__NR_lseek, fd, 0, SEEK_END);
	base = syscall6(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (IS_ERR(size) || IS_ERR(base))
		exit_process(1);
	run((u8 *)base);
}

/* The kernel enters with the stack pointer at argc (x86-64 psABI, "Initial Stack and Register State"). */
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n");
