# lib.sh: what the engine scripts share. A script sources it first, with its own arguments:
#
#   . "$(dirname "$(realpath "$0")")/lib.sh"
#   expect 'exit code' 42 '' podman run --rm "$image" sh -c 'exit 42'
#   finish
#
# Sourcing starts the script anew in a sandbox (see sandbox below) and makes these:
#
#   $RUNTIME   the runtime under test, an absolute path. From the environment: a path or a name such as crun or runc, to
#              see whether the expectation is what the others do. Default: build/winbox, copied into the sandbox
#   $RUNTIME_NAME  its base name: winbox, crun, runc
#   $work      a tmpfs of the script's own
#
# Checks print one line each, "ok NAME" or "FAIL NAME" with what was seen; a failed one does not end the script. finish
# does: non-zero when any failed.

set -u
engines=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
top=$(dirname "$(dirname "$engines")")
PYTHON=$(command -v /usr/bin/python3 || command -v python3)
# A command that hangs is killed after this many seconds, which makes its check fail.
LIMIT=60

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# ---- The sandbox

# sandbox runs the script in mount, pid, ipc, uts, network and cgroup namespaces of its own: whatever an engine mounts,
# starts, writes to /run, /etc or /tmp, adds to the network or makes among the control groups ends with the script, also
# when that is killed, and several scripts run beside each other. The control groups are below winbox-engines-PID.
sandbox() {
	[ "$(id -u)" = 0 ] || die "run it as root: engines make namespaces and control groups"
	local name=winbox-engines-$$ mount groups=() group status=0
	while read -r mount; do
		group=$mount/$name
		mkdir "$group" || die "cannot make the control group $group"
		groups+=("$group")
		# A new cpuset is empty, and takes no process then.
		if [ -f "$group/cpuset.cpus" ] && [ ! -f "$group/cgroup.controllers" ]; then
			cat "$mount/cpuset.cpus" >"$group/cpuset.cpus" && cat "$mount/cpuset.mems" >"$group/cpuset.mems"
		fi
	done < <(awk '$5 ~ "^/sys/fs/cgroup" { for (i = 7; $i != "-"; i++); if ($(i + 1) ~ "^cgroup") print $5 }' /proc/self/mountinfo)
	trap : INT TERM # passed on by the terminal or by timeout; the control groups must be removed all the same
	(
		trap - INT TERM
		for group in "${groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs" || exit 1; done
		WINBOX_ENGINES_SANDBOX=1 exec unshare --cgroup --mount --pid --ipc --uts --net --fork --kill-child --propagation private \
			bash "$0" "$@"
	) &
	local child=$!
	# unshare lets no other signal reach it, and takes the whole pid namespace with it.
	while wait $child; status=$?; [ $status -gt 128 ] && kill -0 $child 2>/dev/null; do kill -KILL $child; done
	for group in "${groups[@]}"; do
		# What is frozen outlives even the SIGKILL that the end of its pid namespace brings.
		find "$group" -depth -name freezer.state -execdir sh -c 'echo THAWED >freezer.state' \;
	done
	for group in "${groups[@]}"; do
		local tries=0
		until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ $((tries += 1)) -gt 50 ]; do sleep 0.1; done
		[ ! -d "$group" ] || { echo "$(basename "$0"): $group cannot be removed" >&2; status=1; }
	done
	exit $status
}

# enter_sandbox makes the new namespaces usable: file systems that show them, and places that are empty.
enter_sandbox() {
	mount -t proc proc /proc
	# mountinfo cannot change while awk reads it.
	local mounts=$(awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ "^cgroup") print $5, $(i + 1), $NF }' /proc/self/mountinfo)
	local at type options
	umount -R /sys/fs/cgroup
	[[ $mounts = "/sys/fs/cgroup "* ]] || mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	while read -r at type options; do
		mkdir -p "$at"
		if [ "$type" = cgroup ]; then
			mount -t cgroup -o "${options#rw,}" cgroup "$at" || die "cannot mount the control groups at $at"
		elif [ "$RUNTIME_NAME" != crun ] || [ "$at" = /sys/fs/cgroup ]; then # crun 1.8 does not run where both versions are mounted
			# On version 2, a group with processes cannot give controllers to its children.
			mount -t cgroup2 cgroup2 "$at" && mkdir "$at/script" && echo $$ >"$at/script/cgroup.procs" || die "cannot mount the control groups at $at"
		fi
	done <<<"$mounts"
	mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/lock
	mount -t tmpfs -o mode=1777 tmpfs /tmp
	# Engines and their networks keep files in /var/lib and /etc wherever they are told to keep the rest.
	local dir
	work=/run/engines
	mkdir -m 755 $work
	for dir in /var/lib /etc; do
		mkdir -p $work/over$dir $work/over.work$dir
		mount -t overlay -o "lowerdir=$dir,upperdir=$work/over$dir,workdir=$work/over.work$dir" overlay $dir || die "overlay on $dir"
	done
	# Prefixes of Windows containers are overlays, whose upper folder cannot be on an overlay.
	mkdir -p /var/lib/winbox && mount -t tmpfs -o mode=755 tmpfs /var/lib/winbox
	ip link set lo up
	hostname engines
	cd $work
	export HOME=$work/home TMPDIR=/tmp TERM=xterm LC_ALL=C.UTF-8
	unset XDG_RUNTIME_DIR XDG_DATA_HOME XDG_CONFIG_HOME DBUS_SESSION_BUS_ADDRESS NOTIFY_SOCKET LISTEN_FDS
	mkdir -m 700 $HOME
	if [ "$RUNTIME_NAME" = winbox ]; then
		# Users of the tests may not be able to reach the checkout.
		install -D -m 755 "$RUNTIME" $work/bin/winbox
		RUNTIME=$work/bin/winbox
	fi
}

RUNTIME=${RUNTIME:-$top/build/winbox}
case $RUNTIME in */*) ;; *) RUNTIME=$(command -v "$RUNTIME") || die "there is no such runtime" ;; esac
RUNTIME=$(realpath "$RUNTIME")
[ -x "$RUNTIME" ] || die "$RUNTIME: not there; make build makes it"
RUNTIME_NAME=$(basename "$RUNTIME")
export RUNTIME
[ -n "${WINBOX_ENGINES_SANDBOX-}" ] || sandbox "$@"
unset WINBOX_ENGINES_SANDBOX
enter_sandbox

# ---- Checks

passed=0 failed=0

ok() { echo "ok $1"; passed=$((passed + 1)); }

# fail NAME DETAIL...: each DETAIL is text of one or more lines.
fail() {
	echo "FAIL $1"
	shift
	printf '%s\n' "$@" | head -n 40 | sed 's/^/     | /'
	failed=$((failed + 1))
}

# run CMD...: runs it without standard input, leaves $code, $out and $err. CMD may be a function, then without a limit.
run() {
	local limit=(timeout -k 5 $LIMIT)
	[ "$(type -t "$1")" != function ] || limit=()
	code=0
	"${limit[@]}" "$@" </dev/null >$work/stdout 2>$work/stderr || code=$?
	out=$(tr -d '\0' <$work/stdout) err=$(tr -d '\0' <$work/stderr)
}

seen() { printf 'exit code %s\nstdout: %s\nstderr: %s\n' "$code" "$out" "$err"; }

# expect NAME CODE OUTPUT CMD...: exactly this exit code and standard output.
expect() {
	local name=$1 want_code=$2 want_out=$3
	shift 3
	run "$@"
	if [ "$code" = "$want_code" ] && [ "$out" = "$want_out" ]; then
		ok "$name"
	else
		fail "$name" "want exit code $want_code, stdout: $want_out" "$(seen)"
	fi
}

# expect_match NAME CODE REGEXP CMD...: this exit code, and a line of standard output or error that matches (extended).
expect_match() {
	local name=$1 want_code=$2 want=$3
	shift 3
	run "$@"
	if [ "$code" = "$want_code" ] && printf '%s\n' "$out" "$err" | grep -qE -- "$want"; then
		ok "$name"
	else
		fail "$name" "want exit code $want_code, a line like: $want" "$(seen)"
	fi
}

# check NAME CMD...: exit code 0.
check() {
	local name=$1
	shift
	run "$@"
	if [ "$code" = 0 ]; then ok "$name"; else fail "$name" "$(seen)"; fi
}

# equal NAME WANT GOT
equal() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "want: $2" "got:  $3"; fi; }

# eventually CMD...: waits until CMD succeeds; fails after LIMIT seconds.
eventually() {
	local end=$((SECONDS + LIMIT))
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# pty [STEP...] -- CMD...: runs CMD on a terminal of its own; see terminal.py.
pty() { timeout -k 5 $LIMIT "$PYTHON" "$engines/terminal.py" "$@"; }

# windows_programs DIR: builds test/pe's programs for exit codes and stops.
windows_programs() {
	local name
	for name in exit stop; do
		x86_64-w64-mingw32-gcc -O1 -s -o "$1/$name.exe" "$top/test/pe/$name.c" || die "cannot build $name.exe"
	done
	x86_64-w64-mingw32-gcc -O1 -s -mwindows -o "$1/unsaved.exe" "$top/test/pe/unsaved.c" || die "cannot build unsaved.exe"
}
# Exit codes of Windows programs, and the exit status that stands for each: docs/windows.md, "Exit codes".
exit_codes=(0:0 1:1 255:255 256:1 300:44 3010:194 0xC0000005:139 0xFFFFFFFF:255)

# ---- What is left behind

# remember notes what is there now: processes, mounts, control groups, network devices.
# left_nothing NAME [DIR...]: nothing has been added since, and the DIRs hold nothing but winbox's compiled filters, which
# stay. The state of engines that stay, such as a daemon, has to be there at remember.
remember() { inventory >$work/before; }
left_nothing() {
	local name=$1 added dir
	shift
	# Processes that have been told to end may need a moment.
	if eventually nothing_added "$@"; then
		ok "$name"
	else
		fail "$name" "$(inventory | comm -13 $work/before -)" "$(for dir; do left_in "$dir"; done)"
	fi
}
nothing_added() {
	local dir
	for dir; do
		[ -z "$(left_in "$dir")" ] || return 1
	done
	[ -z "$(inventory | comm -13 $work/before -)" ]
}
left_in() { [ ! -d "$1" ] || find "$1" -mindepth 1 -name seccomp~cache -prune -o -print; }
inventory() {
	{
		# The script's own process group is left out: the reader belongs to it. Engines get groups of their own from run.
		ps -e -o pgid=,pid=,args= | awk -v own="$(ps -o pgid= -p $$)" '$1 != own + 0 { $1 = "process"; print }'
		# podman's library mounts the place of its layers now and then.
		awk '$5 !~ "/storage/overlay$" { print "mount", $5, $(NF - 2) }' /proc/self/mountinfo
		find /sys/fs/cgroup -mindepth 1 -type d \( -fstype cgroup -o -fstype cgroup2 \) -printf 'cgroup %p\n'
		ls /sys/class/net | sed 's/^/device /'
	} | sort
}

# finish tells how many checks have passed, and ends the script.
finish() {
	echo "$passed passed, $failed failed ($(basename "$0") with $RUNTIME_NAME)"
	[ $failed = 0 ] && [ $passed -gt 0 ]
	exit
}

# ---- Images

# import_busybox NAME [ROOT]: makes an image with busybox_root for podman and buildah; leaves ROOT.
import_busybox() {
	local root=${2:-$work/root}
	busybox_root "$root"
	tar -C "$root" -c . | podman import -q -c ENV=PATH=/bin - "$1" >/dev/null || die "podman import failed"
}

# containers_config [DIR]: podman and buildah keep everything below DIR and take $RUNTIME as the runtime of this name.
containers_config() {
	local dir=${1:-$work}
	mkdir -p "$dir"
	cat >"$dir/containers.conf" <<-END
		[containers]
		default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
		log_driver = "k8s-file"
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		runtime = "$RUNTIME_NAME"
		init_path = "$(command -v catatonit)"
		[engine.runtimes]
		$RUNTIME_NAME = ["$RUNTIME"]
	END
	cat >"$dir/storage.conf" <<-END
		[storage]
		driver = "overlay"
		graphroot = "$dir/storage"
		runroot = "$dir/run"
	END
	export CONTAINERS_CONF=$dir/containers.conf CONTAINERS_STORAGE_CONF=$dir/storage.conf
}

# busybox_root DIR: a root file system with busybox, users root and user (1000), and files for the tests: /etc/motd,
# /bin/noexec (mode 0644).
busybox_root() {
	local root=$1 applet
	mkdir -p "$root"/{bin,dev,etc,home/user,proc,root,run,sys,var}
	mkdir -m 1777 "$root/tmp"
	cp /bin/busybox "$root/bin/busybox"
	for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
	printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nuser:x:1000:\nstaff:x:50:user\n' >"$root/etc/group"
	echo 'a file of the image' >"$root/etc/motd"
	echo '#!/bin/sh' >"$root/bin/noexec"
	chown 1000:1000 "$root/home/user"
}

# ---- podman

# box ARGS...: a container that is gone afterwards.
box() { timeout -k 5 $LIMIT podman run --rm --network none "$@"; }
# start NAME ARGS...: one that stays, in the background.
start() {
	local name=$1
	shift
	timeout -k 5 $LIMIT podman run -d --network none --name "$name" "$@" >/dev/null || fail "start of $name" "podman run -d failed"
}
# inspect CONTAINER FORMAT
inspect() { podman inspect --format "$2" "$1"; }
remove() { podman rm -f -t 0 "$@" >/dev/null; }

# remove_pods removes all pods, and the image that podman has made for them. podman removes the control groups of pods
# only where it has made them itself, which is not everywhere on a host with version 1: those that note_pods has noted,
# and that are empty, are removed too.
pods=
note_pods() { pods+=" $(podman pod ps -q --no-trunc)"; }
remove_pods() {
	local pod
	note_pods
	check 'pod rm -f' podman pod rm -f -t 0 -a
	podman rmi -f $(podman images -q localhost/podman-pause) >/dev/null
	for pod in $pods; do rmdir /sys/fs/cgroup/{systemd,unified}/libpod_parent/$pod 2>/dev/null; done
}
