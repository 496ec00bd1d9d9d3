//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lets a Windows program that starts another one become that, instead of staying beside it (wine/boot/pipes.c).
 *
 * Wine starts a process by fork(2), twice, and execve(2) of its loader, when it has told the wineserver all about it. Once a
 * process has said that it is to become the next one, fork(2) in it does as if this were the child: the loader is executed in
 * its place. To the kernel it is the same process, which process 1 or whoever has started it waits for. To the server they are
 * two: it sees that the first one has hung up, and would soon kill what has that one's number. So it is not told the number.
 */
#include "quota.h"

/* The event that the process opens before it starts the program. There is none of that name. */
static const char word[] = "winbox-become";

#define FORKS 2

extern int putenv(char *setting) __attribute__((weak));

/* Whether this process is to become another, and how many forks are left until then once it has said so. */
static u32 runner, forks;

void look_for_word(const u16 *name, u32 units)
{
	u32 i = 0;

	if (!runner || units != sizeof(word) - 1)
		return;
	while (i < units && name[i] == (u16)word[i])
		i++;
	if (i == units)
		forks = FORKS;
}

EXPORT int fork(void)
{
	static char setting[] = MAIN_SETTING;
	int (*real)(void) = dlsym(RTLD_NEXT, "fork");

	if (!forks)
		return real();
	if (!--forks && putenv)
		putenv(setting);
	return 0;
}

EXPORT int getpid(void)
{
	return runner ? -1 : syscall0(__NR_getpid);
}

/* Called by the dynamic linker. */
static __attribute__((constructor, used)) void look_for_runner(int argc, char **argv)
{
	const char *rest = argc > 3 ? after(argv[1], "/run/winbox/pipes.exe") : NULL;

	runner = rest && !*rest && (rest = after(argv[2], "-x")) && !*rest;
}
