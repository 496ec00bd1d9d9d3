//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the system calls that no runtime can do without, and nothing else: no
 * configuration is read, no path is checked, nothing is kept for later. What it
 * takes is the kernel's part of a verb.
 *
 *   floor run ROOTFS          the bundle of bench/lifecycle: all of its life
 *   floor exec PID COMMAND    in a container whose first process is PID
 *   floor state FILE PID      read a state file and look for the process
 *   floor kill FILE PID       the same, and send it signal 0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup/"
#define LIMITED (MS_NOSUID | MS_NOEXEC | MS_NODEV)

static char *environment[] = { "PATH=/bin", NULL };

static long check(long result, const char *what)
{
	if (result == -1) {
		perror(what);
		_exit(1);
	}
	return result;
}

static size_t load(const char *file, char *buf, size_t size)
{
	int fd = (int)check(open(file, O_RDONLY | O_CLOEXEC), file);
	size_t n = (size_t)check(read(fd, buf, size - 1), file);

	close(fd);
	buf[n] = 0;
	return n;
}

static void store(const char *file, const char *text)
{
	int fd = (int)check(open(file, O_WRONLY | O_CLOEXEC), file);

	check(write(fd, text, strlen(text)), file);
	close(fd);
}

/* The v1 hierarchies, by the names of their directories, and the group of the process whose /proc/PID/cgroup is given. */
static struct group {
	char name[32], path[256];
} groups[16];
static int count;

static void find_groups(const char *proc_cgroup)
{
	char buf[4096], *line, *rest;

	load(proc_cgroup, buf, sizeof(buf));
	for (line = strtok_r(buf, "\n", &rest); line && count < 16; line = strtok_r(NULL, "\n", &rest)) {
		char *name = strchr(line, ':') + 1, *path = strchr(name, ':');

		*path++ = 0;
		if (!strncmp(name, "name=", 5))
			name += 5;
		if (!*name) /* cgroup2 */
			continue;
		snprintf(groups[count].name, sizeof(groups[count].name), "%s", name);
		snprintf(groups[count].path, sizeof(groups[count].path), CGROUPS "%s%s", name, path);
		count++;
	}
}

/* A thread that moves itself is spared the lock that moving another process takes. */
static void join_groups(void)
{
	char file[300];

	for (int i = 0; i < count; i++) {
		snprintf(file, sizeof(file), "%s/tasks", groups[i].path);
		store(file, "0");
	}
}

static void make_groups(void)
{
	static const char *const allowed[] = { "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
		"c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm" };
	char file[300], value[64];

	for (int i = 0; i < count; i++) {
		snprintf(groups[i].path, sizeof(groups[i].path), CGROUPS "%s/floor-%d", groups[i].name, getpid());
		check(mkdir(groups[i].path, 0755), groups[i].path);
		if (!strcmp(groups[i].name, "cpuset"))
			for (int mems = 0; mems < 2; mems++) {
				load(mems ? CGROUPS "cpuset/cpuset.mems" : CGROUPS "cpuset/cpuset.cpus", value, sizeof(value));
				snprintf(file, sizeof(file), "%s/cpuset.%s", groups[i].path, mems ? "mems" : "cpus");
				store(file, value);
			}
		if (!strcmp(groups[i].name, "devices")) {
			snprintf(file, sizeof(file), "%s/devices.deny", groups[i].path);
			store(file, "a");
			snprintf(file, sizeof(file), "%s/devices.allow", groups[i].path);
			for (size_t d = 0; d < sizeof(allowed) / sizeof(*allowed); d++)
				store(file, allowed[d]);
		}
	}
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = (int)check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

	check(ioctl(fd, SIOCSIFFLAGS, &request), "loopback");
	close(fd);
}

static void attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	mkdir(target, 0755);
	check(mount(source, target, type, flags, data), target);
}

/* Relative paths: the root file system is the current directory. */
static void mount_all(void)
{
	char target[64];

	attach("proc", "proc", "proc", 0, NULL);
	attach("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	attach("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	attach("shm", "dev/shm", "tmpfs", LIMITED, "mode=1777,size=65536k");
	attach("mqueue", "dev/mqueue", "mqueue", LIMITED, NULL);
	attach("sysfs", "sys", "sysfs", LIMITED | MS_RDONLY, NULL);
	attach("tmpfs", "sys/fs/cgroup", "tmpfs", LIMITED, "mode=755");
	for (int i = 0; i < count; i++) {
		snprintf(target, sizeof(target), "sys/fs/cgroup/%.31s", groups[i].name);
		attach(groups[i].path, target, NULL, MS_BIND, NULL);
		check(mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | LIMITED, NULL), target);
	}
	check(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | LIMITED, NULL), "sys/fs/cgroup");
}

static void make_devices(void)
{
	static const struct {
		const char *file;
		int major, minor;
	} nodes[] = { { "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 }, { "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 } };
	static const char *const links[][2] = { { "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
		{ "/proc/self/fd/2", "dev/stderr" }, { "pts/ptmx", "dev/ptmx" } };

	for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++)
		check(mknod(nodes[i].file, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].file);
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
		check(symlink(links[i][0], links[i][1]), links[i][1]);
}

/* Masked and read-only paths; those that this kernel lacks are left out, as they are by a runtime. */
static void hide(void)
{
	static const char *const masked[] = { "proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
		"proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi" };
	static const char *const read_only[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };

	for (size_t i = 0; i < sizeof(masked) / sizeof(*masked); i++)
		if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) == -1 && errno == ENOTDIR)
			check(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"), masked[i]);
	for (size_t i = 0; i < sizeof(read_only) / sizeof(*read_only); i++)
		if (mount(read_only[i], read_only[i], NULL, MS_BIND, NULL) == 0)
			check(mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), read_only[i]);
}

static void change_root(void)
{
	check(mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "read-only root");
	check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	check(umount2(".", MNT_DETACH), "umount");
	check(chdir("/"), "/");
}

/* What `runc spec` leaves: CAP_AUDIT_WRITE, CAP_KILL and CAP_NET_BIND_SERVICE. */
static void drop_privileges(void)
{
	const unsigned keep = 1U << CAP_AUDIT_WRITE | 1U << CAP_KILL | 1U << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { keep, keep, 0 } };
	struct rlimit files = { 1024, 1024 };

	check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		if (c > 31 || !(keep & 1U << c))
			check(prctl(PR_CAPBSET_DROP, c, 0, 0, 0), "bounding set");
	check(syscall(SYS_capset, &header, data), "capset");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

static void execute(char **argv)
{
	drop_privileges();
	execve(argv[0], argv, environment);
	check(-1, argv[0]);
}

static int finish(long pid)
{
	int status;

	check(waitpid((pid_t)pid, &status, 0), "wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run(const char *rootfs)
{
	static char *command[] = { "/bin/true", NULL };
	int status;
	long pid;

	find_groups("/proc/self/cgroup");
	make_groups();
	pid = check(syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0), "clone");
	if (pid == 0) {
		join_groups();
		check(setsid(), "setsid");
		loopback_up();
		check(sethostname("runc", 4), "sethostname");
		check(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL), "propagation");
		check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
		check(chdir(rootfs), rootfs);
		mount_all();
		make_devices();
		hide();
		change_root();
		execute(command);
	}
	status = finish(pid);
	for (int i = 0; i < count; i++)
		check(rmdir(groups[i].path), groups[i].path);
	return status;
}

static int enter(int target, char **command)
{
	char file[64];
	int fd = (int)check(syscall(SYS_pidfd_open, target, 0), "pidfd_open");
	long pid;

	snprintf(file, sizeof(file), "/proc/%d/cgroup", target);
	find_groups(file);
	check(setns(fd, CLONE_NEWPID), "setns");
	pid = check(fork(), "fork");
	if (pid == 0) {
		join_groups();
		check(setns(fd, CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS), "setns");
		execute(command);
	}
	return finish(pid);
}

static int look(const char *state, int pid, int print)
{
	char buf[4096], stat[1024], file[64];
	size_t n = load(state, buf, sizeof(buf));

	snprintf(file, sizeof(file), "/proc/%d/stat", pid);
	load(file, stat, sizeof(stat));
	if (print)
		check(write(1, buf, n), "standard output");
	return 0;
}

static int send_signal(const char *state, int pid)
{
	int fd = (int)check(syscall(SYS_pidfd_open, pid, 0), "pidfd_open");

	look(state, pid, 0);
	check(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), "pidfd_send_signal");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "run"))
		return run(argv[2]);
	if (argc > 3 && !strcmp(argv[1], "exec"))
		return enter(atoi(argv[2]), argv + 3);
	if (argc == 4 && !strcmp(argv[1], "state"))
		return look(argv[2], atoi(argv[3]), 1);
	if (argc == 4 && !strcmp(argv[1], "kill"))
		return send_signal(argv[2], atoi(argv[3]));
	fprintf(stderr, "usage: floor run ROOTFS | exec PID COMMAND... | state FILE PID | kill FILE PID\n");
	return 2;
}
