//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completes a lean registry (wine/lean.go) when it is first asked for something that it lacks.
 *
 * Whatever opens a key is a request to the wineserver, which Wine's ntdll sends by writev(2) with the name of the key
 * behind a head of fixed size. The function here takes the place of the C library's: before a name goes out that such a key
 * may have, it has a Windows program load the rest, and waits for its end. That is the same for 64-bit and 32-bit programs and
 * all versions of Wine, since what the head looks like does not matter. A name that only looks like one costs the load.
 */
#include "quota.h"

/* The program, with its arguments, each with a zero behind it. There is no such file where nothing is missing. */
#define COMMAND_PATH "/run/winbox/prefix/load-registry"

#define SIG_SETMASK 2
#define LOCK_EX 2
#define WALL 0x40000000

extern char **environ __attribute__((weak));

/* Whether nothing is missing, for all that this process knows; and whether the rest is to be loaded before anything is asked. */
static u32 whole, due;

static u16 lower(u16 c)
{
	return c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c;
}

/* Whether a name begins with a word. */
static int begins(const u16 *name, u32 units, const char *word)
{
	u32 i;

	for (i = 0; word[i]; i++)
		if (i == units || lower(name[i]) != word[i])
			return 0;
	return 1;
}

/*
 * Whether what is sent may name a key that is missing. The table of time zones is one that each process opens when it
 * starts, by its whole path or to create it (then a structure precedes the name), and there it is not meant: who looks
 * for other zones opens it by a path below HKEY_LOCAL_MACHINE, or asks for what is in it.
 */
static int is_missing(const u16 *name, u32 units)
{
	static const char within[][24] = { "classes", "cryptography\\oid", "cryptography\\providers", "folderdescriptions",
					   "telephony", "time zones\\" };
	static const char alone[][12] = { "oid", "providers", "explorer" }, zones[] = "time zones", shell[] = "\\explorer";
	const u32 zones_size = sizeof(zones) - 1, shell_size = sizeof(shell) - 1;

	for (u32 w = 0; w < sizeof(alone) / sizeof(alone[0]); w++)
		if (begins(name, units, alone[w]) && units == string_length(alone[w]))
			return 1;
	if (units >= zones_size && name[0] != '\\' && name[1] >= ' ' && begins(name + units - zones_size, zones_size, zones))
		return 1;
	if (units >= shell_size && begins(name + units - shell_size, shell_size, shell)) /* of which FolderDescriptions is a part */
		return 1;
	for (u32 i = 0; i < units; i++)
		for (u32 w = 0; w < sizeof(within) / sizeof(within[0]); w++)
			if (begins(name + i, units - i, within[w]))
				return 1;
	return 0;
}

/* In the child: becomes the program. */
static __attribute__((noreturn)) void become(char *command, u32 size)
{
	static const char socket[] = "WINESERVERSOCKET=", reserve[] = "WINEPRELOADRESERVE=";
	char *argv[8], **to = environ;
	u32 n = 0;
	u64 none = 0;

	for (u32 i = 0; i < size && n < 7; i += string_length(command + i) + 1)
		argv[n++] = command + i;
	argv[n] = NULL;
	/* What a process that Wine has started is told besides: this one is started from Unix. */
	for (char **from = environ; *from; from++) {
		u32 i = 0, j = 0;

		while (socket[i] && (*from)[i] == socket[i])
			i++;
		while (reserve[j] && (*from)[j] == reserve[j])
			j++;
		if (socket[i] && reserve[j])
			*to++ = *from;
	}
	*to = NULL;
	syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
	syscall3(__NR_close_range, 3, ~0U, 0);
	syscall3(__NR_execve, argv[0], argv, environ);
	syscall1(__NR_exit_group, 1);
	__builtin_unreachable();
}

/*
 * Has the rest loaded, once for all processes of the container: whoever comes meanwhile waits for the lock, and the file
 * goes when it is done. Nothing may interrupt it, since Wine ends threads by a signal.
 */
static void complete(void)
{
	static char command[1024];
	u64 mask = 0, all = ~0ULL;
	long fd = syscall3(__NR_open, COMMAND_PATH, O_RDONLY | O_CLOEXEC, 0), pid = 0, size;

	if (IS_ERR(fd)) {
		whole = 1;
		return;
	}
	syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof(mask));
	/* flock(2), access(2) */
	syscall2(__NR_flock, fd, LOCK_EX);
	if (!IS_ERR(syscall2(__NR_access, COMMAND_PATH, 0)) && environ) {
		size = syscall3(__NR_read, fd, command, sizeof(command) - 1);
		/* clone(2) without CLONE_VM is fork(2), and __WALL of wait4(2) waits for any child. */
		if (size > 0)
			pid = syscall5(__NR_clone, 0, 0, 0, 0, 0);
		if (pid == 0 && size > 0)
			become(command, size);
		if (pid > 0) {
			syscall4(__NR_wait4, pid, NULL, WALL, NULL);
			syscall1(__NR_unlink, COMMAND_PATH);
		}
	}
	/* A process that could not be made may be possible the next time. */
	if (!IS_ERR(pid))
		whole = 1;
	syscall1(__NR_close, fd);
	syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

struct part {
	const void *at;
	unsigned long size;
};

/* No name is longer than that, in units of 16 bits: more is data. */
#define MAX_UNITS 4096

/* writev(2) */
EXPORT long writev(int fd, const struct part *parts, int count)
{
	long result;

	if (count > 1)
		look_for_word(parts[1].at, parts[1].size / 2);
	if (!whole && count > 1) {
		int missing = due;

		for (int i = 1; i < count && !missing; i++)
			missing = parts[i].size / 2 <= MAX_UNITS && is_missing(parts[i].at, parts[i].size / 2);
		if (missing)
			complete();
	}
	result = syscall3(__NR_writev, fd, parts, count);
	return IS_ERR(result) ? fail(result) : result;
}

/*
 * Called by the dynamic linker. A program that another one starts may be any, and is given the whole registry from the
 * start, and so is one that winbox says it of; but not those that boot, or that Wine starts for its own ends.
 */
static __attribute__((constructor, used)) void look_around(int argc, char **argv, char **env)
{
	static const char apart[][20] = { "wineboot.exe", "winbox-", "conhost.exe", "explorer.exe" };
	static const char child[] = "WINESERVERSOCKET=", asked[] = "WINBOX_REGISTRY=whole", main[] = MAIN_SETTING;
	u32 is_child = 0, is_main = 0;
	char **to = env;

	for (; *env; env++) {
		if (after(*env, main)) { /* of this process, not of its children */
			is_main = 1;
			continue;
		}
		is_child |= !!after(*env, child);
		due |= !!after(*env, asked);
		*to++ = *env;
	}
	*to = NULL;
	due |= is_child && !is_main;
	if (IS_ERR(syscall2(__NR_access, COMMAND_PATH, 0))) {
		whole = 1;
		return;
	}
	if (argc < 2)
		return;
	for (const char *s = argv[1], *name = s; *s; s++) {
		if (*s == '\\' || *s == '/')
			name = s + 1;
		else if (s == name)
			for (u32 w = 0; w < sizeof(apart) / sizeof(apart[0]); w++) {
				u32 i = 0;

				while (apart[w][i] && (s[i] | 0x20) == (apart[w][i] | 0x20))
					i++;
				if (!apart[w][i])
					whole = 1;
			}
	}
}
