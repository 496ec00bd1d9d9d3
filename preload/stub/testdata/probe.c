//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what a program can find out about how it was started, one fact a
 * line, and tries what a broken start would break. Run directly and through
 * the preloader, the two outputs are compared.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct preload_info {
	void *address;
	size_t size;
};

#ifndef NO_PRELOAD_INFO
struct preload_info *wine_main_preload_info;
#else
static struct preload_info *wine_main_preload_info;
#endif

extern char **environ;

static void show_file(const char *key, const char *path)
{
	static char line[65536];
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f))
		printf("%s %s", key, line);
	if (f)
		fclose(f);
}

static void show_auxv(void)
{
	char **p = environ;
	ElfW(auxv_t) *av;

	while (*p)
		p++;
	for (av = (void *)(p + 1); av->a_type != AT_NULL; av++) {
		printf("aux %lu %lx", (unsigned long)av->a_type, (unsigned long)av->a_un.a_val);
		if (av->a_type == AT_EXECFN || av->a_type == AT_PLATFORM)
			printf(" %s", (char *)av->a_un.a_val);
		printf("\n");
	}
}

static int show_object(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size;
	(void)data;
	printf("object %s %lx %d\n", info->dlpi_name[0] ? info->dlpi_name : "-", (unsigned long)info->dlpi_addr,
	       info->dlpi_phnum);
	return 0;
}

static void *thread(void *arg)
{
	errno = 42; /* thread-local storage works */
	*(int *)arg = errno;
	return arg;
}

/* Whether the time comes without a system call: yes if it still comes when the call would kill. */
static int time_from_vdso(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 1, 0),
#ifdef SYS_clock_gettime64
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime64, 0, 1),
#else
		BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
#endif
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct timeval now;

		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
		gettimeofday(&now, NULL);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status == 0;
}

/* What the preloader has left of its work at REPORT, in hexadecimal; nothing where nothing is mapped. */
static void show_report(void)
{
	unsigned char bytes[104];
	int fd = open("/proc/self/mem", O_RDONLY);

	if (fd < 0 || pread(fd, bytes, sizeof(bytes), REPORT) != sizeof(bytes))
		return;
	close(fd);
	printf("report ");
	for (size_t i = 0; i < sizeof(bytes); i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

/* Where memory comes from, 16 MiB at a time, until there is no more or 1 GiB is reached. */
static void show_pool(void)
{
	const size_t size = 16 << 20;
	void *got[64];
	int n;

	for (n = 0; n < 64; n++) {
		got[n] = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (got[n] == MAP_FAILED)
			break;
		printf("pool %lx-%lx\n", (unsigned long)got[n], (unsigned long)got[n] + size);
	}
	while (n-- > 0)
		munmap(got[n], size);
}

static void at_exit(void)
{
	printf("atexit\n");
}

int main(int argc, char **argv)
{
	pthread_t id;
	int value = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	show_file("map", "/proc/self/maps"); /* before anything else can change it */
	for (int i = 0; i < argc; i++)
		printf("argv %s\n", argv[i]);
	for (char **p = environ; *p; p++)
		printf("env %s\n", *p);
	show_auxv();
	dl_iterate_phdr(show_object, NULL);
	for (struct preload_info *r = wine_main_preload_info; r && r->size; r++)
		printf("reserved %lx-%lx\n", (unsigned long)r->address, (unsigned long)r->address + r->size);
	show_report();
	printf("stack %lx\n", (unsigned long)&id);
	show_file("comm", "/proc/self/comm");
	printf("vdso %d\n", time_from_vdso());
	atexit(at_exit);
	if (!pthread_create(&id, NULL, thread, &value) && !pthread_join(id, NULL))
		printf("thread %d\n", value);
#ifdef LIBRARY
	printf("dlopen %d\n", dlopen(LIBRARY, RTLD_NOW) != NULL);
#endif
	show_pool();
	show_file("late", "/proc/self/maps");
	return 7;
}
