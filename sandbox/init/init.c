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
#include <linux/ioctl.h>
#include <linux/seccomp.h>
#include <linux/signal.h>
#include <linux/signalfd.h>
#include <linux/time_types.h>

#include "../../internal/freestanding/linux.h"

enum op { OP_SYSCALL, OP_CLONE, OP_STORE, OP_LOAD, OP_CHANNEL, OP_FAIL, OP_SUPERVISE, OP_FORK };
enum kind { IMMEDIATE, DATA, REGISTER };
enum report { REPORT_ERROR = 1, REPORT_PID = 2 };

#define FLAG_NONZERO 1
#define OPENAT2_TRIES 1000

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
#define AT_FDCWD -100
#define POLLIN 1
#define SIGKILL_STATUS(status) (((status) & 0x7f) == SIGKILL)
#define MSG_NOSIGNAL 0x4000

/* From asm/ioctls.h, linux/fcntl.h and linux/prctl.h. */
#define TIOCGWINSZ 0x5413
#define PR_SET_PDEATHSIG 1

static __attribute__((noreturn)) void exit_process(int code)
{
	for (;;)
		syscall1(__NR_exit, code); /* exit(2): the only thread ends, and not exit_group(2), which may wait for this process */
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
	int exits, oom; /* the exit listener, and what tells that memory has run out; -1: there is none */
	u32 code, code_known; /* what it passed to exit_group(2), all 32 bits */
	int given_up; /* a signal has come for those that it left behind */
	/* How often the count of the OOM killer is yet to be looked at, and what it was at the start. */
	int looks;
	u64 kills;
};

/* How process 1 is to go about it: program.(*compiler).supervision writes this into the program's data. */
struct supervision {
	u64 grace; /* milliseconds for the processes that outlive the main one, when they have got SIGTERM */
	u64 linger; /* whether to wait for them before, as long as they take */
	struct status {
		u32 code, status;
	} *statuses; /* the exit status for exit codes that do not fit in one */
	u64 count;
	struct stop {
		u64 signal;
		const char **argv; /* what asks the program to stop when this signal comes */
		u64 pid; /* while it runs, else 0 */
	} *stops;
	u64 stop_count;
	/* Descriptors that tell of memory running out (cgroup.OOMFiles): an eventfd, and the file that counts; 0: there are none. */
	u64 oom_event, oom_count;
	u64 nested; /* it is not process 1: only its own children are its affair, and the program dies with it */
	struct console {
		const char **argv; /* what tells the program's console the size of its terminal */
		char *size; /* the argument that says it: SIZE_FORMAT */
		u64 pid; /* while it runs, else 0 */
		u64 due; /* the size has changed since */
		struct __kernel_timespec settle; /* how long yet to wait for the next change, when it is due */
	} *console; /* 0: there is none */
};

/* Five digits each for columns and rows: a terminal has at most 65535 (struct winsize of ioctl_tty(2)). */
#define SIZE_FORMAT "00000x00000"

/* Who drags a window's edge changes the size many times: nanoseconds to wait for the next time. */
#define SETTLE_NS 50000000

/* What is left in the exit record (exitFile of package sandbox); status is that of process 1. */
struct exit_record {
	u32 status, code, code_known, zero;
};

/* Descriptors of the supervisor, which has no use for the standard streams. */
enum { STATUS_FD, EXITS_FD, HOLD_FD, OOM_EVENT_FD, OOM_COUNT_FD, SIGNALS_FD };

/*
 * The kernel tells of an OOM in this group, or in one above it, before it has chosen whom to kill, and that may be somebody
 * else's process. So the count is looked at for a second, in steps.
 */
enum { OOM_LOOKS = 100, OOM_PAUSE = 10000000 /* ns */ };

/* Puts a descriptor in its place, and gives that; without one (0), nothing is there, and -1, which ppoll(2) ignores. */
static int place(u64 from, int to)
{
	if (from && !IS_ERR(syscall3(__NR_dup3, from, to, 0)))
		return to;
	syscall1(__NR_close, to);
	return -1;
}

/* How many processes of the group the OOM killer has killed: the last line of memory.oom_control, "oom_kill N". */
static u64 oom_kills(long fd)
{
	static const char name[] = "\noom_kill ";
	char text[128];
	long size = syscall4(__NR_pread64, fd, text, sizeof(text) - 1, 0), at, n;
	u64 count = 0;

	if (IS_ERR(size))
		return 0;
	text[size] = 0;
	for (at = 0; text[at]; at++) {
		for (n = 0; name[n] && text[at + n] == name[n]; n++)
			;
		if (name[n])
			continue;
		for (at += n; text[at] >= '0' && text[at] <= '9'; at++)
			count = count * 10 + (u64)(text[at] - '0');
		break;
	}
	return count;
}

/* How one ends that has asked the program to stop: with exit code 3 (wine/boot/stop.c), as wait4(2) gives it. */
#define ASKED_STATUS (3 << 8)

/*
 * Waits for every process that has ended; returns 0 when none is left at all. If one that was to ask the program to stop
 * could not, the program gets the signal itself.
 */
static int reap(struct child *main_child, const struct supervision *how)
{
	for (;;) {
		int status = 0;
		u64 i;
		/* wait4(2) with -1: whatever has been orphaned in the container belongs to process 1. */
		long pid = syscall4(__NR_wait4, -1, &status, WNOHANG, 0);

		if (pid == -ECHILD)
			return 0;
		if (pid <= 0)
			return 1;
		if (SIGKILL_STATUS(status) && !main_child->looks)
			main_child->looks = 1;
		if (pid == main_child->pid) {
			main_child->gone = 1;
			main_child->status = status;
		}
		if (how->console && how->console->pid == (u64)pid)
			how->console->pid = 0;
		for (i = 0; i < how->stop_count; i++)
			if (how->stops[i].pid == (u64)pid) {
				how->stops[i].pid = 0;
				if (status == ASKED_STATUS)
					continue;
				/* Should it have ended meanwhile, the signal is for what it left behind. */
				main_child->given_up = 1;
				if (!main_child->gone)
					syscall2(__NR_kill, main_child->pid, how->stops[i].signal);
			}
	}
}

/* Runs a program that does something in the place of process 1, with no descriptors of process 1's. Returns its process id, 0 when it cannot be made. */
static u64 ask(const char **argv, long envp)
{
	static const char null[] = "/dev/null";
	u64 none = 0;
	long pid = syscall5(__NR_clone, SIGCHLD, 0, 0, 0, 0);

	if (IS_ERR(pid))
		return 0;
	if (pid != 0)
		return (u64)pid;
	/* openat(2) and dup(2) take the lowest numbers: the standard streams. */
	syscall3(__NR_close_range, 0, ~0U, 0);
	syscall4(__NR_openat, AT_FDCWD, null, O_RDWR, 0);
	syscall1(__NR_dup, 0);
	syscall1(__NR_dup, 0);
	syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	syscall3(__NR_execve, argv[0], argv, envp);
	exit_process(1);
}

/* Tells the program's console the size of the terminal, which is the controlling one of this process. */
static void tell_size(struct console *console, long envp)
{
	static const char terminal[] = "/dev/tty";
	u16 size[4] = { 0 }; /* struct winsize: rows, columns, and two of no meaning */
	long fd = syscall4(__NR_openat, AT_FDCWD, terminal, O_RDWR | O_NOCTTY, 0), err = fd;
	u32 columns, rows;
	int i;

	console->due = 0;
	if (!IS_ERR(fd)) {
		err = syscall3(__NR_ioctl, fd, TIOCGWINSZ, size);
		syscall1(__NR_close, fd);
	}
	if (IS_ERR(err) || !size[0] || !size[1])
		return;
	rows = size[0];
	columns = size[1];
	for (i = 4; i >= 0; i--, columns /= 10, rows /= 10) {
		console->size[i] = '0' + columns % 10;
		console->size[i + sizeof("00000x") - 1] = '0' + rows % 10;
	}
	console->pid = ask(console->argv, envp);
}

/* Handles a signal that somebody has sent to the container: it is meant for the program. */
static void pass_on(struct child *main_child, const struct supervision *how, long envp, u32 signal)
{
	u64 i;

	for (i = 0; i < how->stop_count; i++) {
		struct stop *stop = &how->stops[i];

		if (stop->signal != signal)
			continue;
		if (main_child->gone)
			main_child->given_up = 1;
		else if (!stop->pid && !(stop->pid = ask(stop->argv, envp)))
			break;
		return;
	}
	if (!main_child->gone)
		syscall2(__NR_kill, main_child->pid, signal);
}

/*
 * Answers a process that is about to exit_group: it may. Of the exit code,
 * wait4(2) gives eight bits only; here all of them are to be seen
 * (seccomp_unotify(2)). An error means that the process has been killed
 * meanwhile, and then there is nothing to answer.
 */
static void let_exit(struct child *main_child)
{
	struct seccomp_notif request;
	struct seccomp_notif_resp answer;

	memset(&request, 0, sizeof(request));
	if (IS_ERR(syscall3(__NR_ioctl, EXITS_FD, SECCOMP_IOCTL_NOTIF_RECV, &request)))
		return;
	/* tgkill(2) with signal 0 tells whether the thread is one of the main process's. */
	if (!main_child->gone && syscall3(__NR_tgkill, main_child->pid, request.pid, 0) == 0) {
		main_child->code = (u32)request.data.args[0];
		main_child->code_known = 1;
	}
	memset(&answer, 0, sizeof(answer));
	answer.id = request.id;
	answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	syscall3(__NR_ioctl, EXITS_FD, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

/*
 * Waits for something to happen and handles it; returns 0 when timeout, if
 * given, has passed. ppoll(2) itself takes off it what it has waited.
 */
static int attend(struct child *main_child, const struct supervision *how, long envp, struct __kernel_timespec *timeout)
{
	struct pollfd {
		i32 fd;
		i16 events, revents;
	} fds[3] = { { SIGNALS_FD, POLLIN, 0 }, { main_child->exits, POLLIN, 0 }, { main_child->oom, POLLIN, 0 } };
	struct signalfd_siginfo info;
	int settling = !timeout && !main_child->gone && how->console && how->console->due && !how->console->pid;
	u64 events;

	if (syscall5(__NR_ppoll, fds, 3, settling ? &how->console->settle : timeout, 0, 0) == 0) {
		if (settling)
			tell_size(how->console, envp);
		return settling;
	}
	if (fds[1].revents & POLLIN)
		let_exit(main_child);
	if (fds[2].revents & POLLIN && syscall3(__NR_read, OOM_EVENT_FD, &events, sizeof(events)) == sizeof(events))
		main_child->looks = OOM_LOOKS;
	if (!(fds[0].revents & POLLIN) || syscall3(__NR_read, SIGNALS_FD, &info, sizeof(info)) != sizeof(info))
		return 1;
	if (info.ssi_signo == SIGWINCH && how->console) {
		how->console->due = 1;
		how->console->settle = (struct __kernel_timespec){ 0, SETTLE_NS };
	}
	/* What the kernel's terminal sends (SI_KERNEL), the program has got already, but for the end of the terminal, of which
	 * it tells the first process of the session: this one. */
	else if (info.ssi_signo != SIGCHLD && (info.ssi_code != SI_KERNEL || info.ssi_signo == SIGHUP))
		pass_on(main_child, how, envp, info.ssi_signo);
	return 1;
}

/* The exit status of process 1, which is all that an engine sees of the program's end. */
static int exit_status(const struct child *main_child, const struct supervision *how)
{
	/* The status of wait4(2): a signal in the low seven bits, else the low eight bits of the exit code above them. */
	int low = main_child->status >> 8 & 0xff;
	u64 i;

	if (main_child->status & 0x7f)
		return 128 + (main_child->status & 0x7f);
	if (!main_child->code_known || main_child->code <= 0xff)
		return low;
	for (i = 0; i < how->count; i++)
		if (how->statuses[i].code == main_child->code)
			return (int)how->statuses[i].status;
	low = main_child->code & 0xff;
	return low ? low : 1;
}

static __attribute__((noreturn)) void end(int status, const struct child *main_child)
{
	struct exit_record record = { (u32)status, main_child->code, main_child->code_known, 0 };

	/* write(2): whoever started the container, or asks for its state later, reads it. */
	syscall3(__NR_write, STATUS_FD, &record, sizeof(record));
	exit_process(status);
}

/*
 * Waits for something to happen and handles it, and reaps what has ended; returns 0 when the time, if given, has passed.
 *
 * When the OOM killer has struck, nothing is left to do but end: the container dies as one, as with memory.oom.group of
 * cgroup v2. Without this process, the kernel kills the others.
 */
static int turn(struct child *main_child, const struct supervision *how, long envp, struct __kernel_timespec *left)
{
	struct __kernel_timespec pause = { 0, OOM_PAUSE };
	int in_time = 1;

	if (main_child->looks)
		attend(main_child, how, envp, &pause);
	else
		in_time = attend(main_child, how, envp, left);
	reap(main_child, how);
	if (main_child->looks) {
		main_child->looks--;
		if (how->oom_count && oom_kills(OOM_COUNT_FD) > main_child->kills) {
			main_child->code_known = 0;
			end(128 + SIGKILL, main_child);
		}
	}
	return in_time;
}

/*
 * Process 1 of a Windows container: passes signals on to the program, or has it
 * asked to stop, reaps what is orphaned, and when the program has ended lets the
 * wineserver write the registry before everything else dies with process 1
 * (pid_namespaces(7)). A program that is executed in the container besides has a
 * parent like that, too, which gives it its terminal's size and its exit status.
 */
static __attribute__((noreturn)) void supervise(int channel, u32 index, const char **argv, long envp, const struct supervision *how, int exits, int status, int hold)
{
	struct child child = { 0 };
	u64 all = ~0ULL, none = 0;
	struct __kernel_timespec left = { (i64)(how->grace / 1000), (i64)(how->grace % 1000) * 1000000 };
	long fd, self = syscall0(__NR_getpid);

	/*
	 * All signals are blocked and read from a descriptor: process 1 gets only
	 * those that it has a handler for or has blocked, and a handler would
	 * need a return trampoline.
	 */
	syscall4(__NR_rt_sigprocmask, SIG_BLOCK, &all, 0, sizeof(all));
	if (how->oom_count)
		child.kills = oom_kills((long)how->oom_count);
	/* clone(2) without CLONE_VM is fork(2). */
	child.pid = syscall5(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (IS_ERR(child.pid))
		fail(channel, index, child.pid);
	if (child.pid == 0) {
		long err;

		/* prctl(2) asks for the signal too late when the parent is gone already: it is killed only, with SIGKILL. */
		if (how->nested) {
			syscall2(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
			if (syscall0(__NR_getppid) != self)
				exit_process(1);
		}
		syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
		err = syscall3(__NR_execve, argv[0], argv, envp);
		fail(channel, index, err);
	}
	/*
	 * The standard streams end with the program, not with process 1; and the
	 * channel's end of file tells that execve succeeded. dup3(2) puts what is
	 * needed in the place of the streams: the exit record, the exit
	 * listener, and a file that is only held open, because a lock goes with
	 * it; then what tells of the OOM killer, whose descriptors are behind all
	 * those places. close_range(2) closes the rest; signalfd4(2) takes the
	 * lowest number that is free then.
	 */
	place(status, STATUS_FD);
	child.exits = place(exits, EXITS_FD);
	place(hold, HOLD_FD);
	child.oom = place(how->oom_event, OOM_EVENT_FD);
	place(how->oom_count, OOM_COUNT_FD);
	syscall3(__NR_close_range, SIGNALS_FD, ~0U, 0);
	fd = syscall4(__NR_signalfd4, -1, &all, sizeof(all), 0);
	if (fd != SIGNALS_FD) { /* one of the others was not there */
		syscall3(__NR_dup3, fd, SIGNALS_FD, 0);
		syscall1(__NR_close, fd);
	}
	while (!child.gone)
		turn(&child, how, envp, 0);
	while (how->linger && !child.given_up && reap(&child, how))
		turn(&child, how, envp, 0);
	/* kill(2) with -1: every process of this pid namespace but the caller. SIGTERM makes a wineserver save the registry. */
	if (how->grace && reap(&child, how)) {
		syscall2(__NR_kill, -1, SIGTERM);
		while (reap(&child, how) && turn(&child, how, envp, &left))
			;
	}
	end(exit_status(&child, how), &child);
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
			/* openat2(2) gives up with EAGAIN when a rename or a mount, anywhere on the host, comes between its
			 * steps over "..": nothing is wrong with this path then, and the next try is as good as the first. */
			n = 0;
			do
				result = syscall6(in->number, a[0], a[1], a[2], a[3], a[4], a[5]);
			while (result == -EAGAIN && in->number == __NR_openat2 && ++n < OPENAT2_TRIES);
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
			result = a[1] == a[2] ? -a[0] : 0;
			break;
		case OP_SUPERVISE:
			supervise(channel, i, (const char **)a[0], a[1], (const struct supervision *)a[2], (int)a[3], (int)a[4], (int)a[5]);
		case OP_FORK:
			/* clone(2) without CLONE_VM is fork(2); the child's copy of the program goes on elsewhere. */
			result = syscall5(__NR_clone, SIGCHLD, 0, 0, 0, 0);
			if (result == 0) {
				i = in->on_error;
				continue;
			}
			break;
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

/* What the caller ignores or blocks (nohup(1), a shell's background job) is its own affair: execve(2) would pass it on. */
static void reset_signals(void)
{
	struct {
		u64 handler, flags, restorer, mask;
	} by_default = { 0, 0, 0, 0 };
	u64 none = 0;
	int signal;

	/* rt_sigaction(2) refuses SIGKILL and SIGSTOP, which cannot be ignored anyway. */
	for (signal = 1; signal <= 64; signal++)
		syscall4(__NR_rt_sigaction, signal, &by_default, 0, sizeof(by_default.mask));
	syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
}

__attribute__((noreturn, used)) void start(long *stack)
{
	const char *arg = (const char *)stack[2]; /* argv[1]: stack[0] is argc */
	long fd = 0, size, base;

	reset_signals();
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
