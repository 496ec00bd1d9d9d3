#!/bin/bash
# validate.sh [-v] [-r RUNTIME,...] [-j JOBS] [-t SECONDS] [PROGRAM...]
#
# Runs the OCI project's runtime validation programs (github.com/opencontainers/runtime-tools, pinned in validate/go.mod)
# against winbox, runc and crun, as root, and prints who passes what. Fails if winbox fails a program that passes for runc
# or crun, or that validate/expected.txt wants to pass. -v prints the programs' output as well, which stays in
# build/validate/RUNTIME; -r picks runtimes, -j says how many programs run at a time, -t how long one may take.
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$self")/.."
build=$PWD/build/validate

# Programs that want what a later version of the specification has changed: they run with bundles of version 1.0.
older=poststart_fail

fail() { echo "validate.sh: $*" >&2; exit 1; }

# Prints mount point, type and options of each control group hierarchy.
hierarchies() { awk '{ i = 7; while ($i != "-") i++; if ($(i + 1) ~ /^cgroup2?$/) print $5, $(i + 1), $(i + 3) }' /proc/self/mountinfo; }

# Process 1 of a sandbox: runs PROGRAM with mounts, devices, /run and control groups that nobody else sees. What the
# programs leave mounted ends with the mount namespace.
inside() { # RUNTIME PROGRAM
	local point type options work=$build/work
	local groups
	groups=$(hierarchies)
	umount -R /sys/fs/cgroup
	while read -r point type options; do
		# crun 1.8 refuses a host that has both versions.
		[ "$1" != crun ] || [ "$type" != cgroup2 ] || [ "$point" = /sys/fs/cgroup ] || continue
		if [ "$point" != /sys/fs/cgroup ] && ! mountpoint -q /sys/fs/cgroup; then mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup; fi
		options=$(sed -E 's/(^|,)(rw|ro|xattr|seclabel|nsdelegate|memory_recursiveprot|favordynmods)\b//g; s/^,//; s/^name=/none,&/' <<<"$options")
		mkdir -p "$point"
		mount -t "$type" ${options:+-o "$options"} cgroup "$point"
		# No group of version 2 may have both processes and limits for its children.
		if [ "$point" = /sys/fs/cgroup ]; then
			mkdir "$point/validate"
			echo 1 >"$point/validate/cgroup.procs"
		fi
	done <<<"$groups"

	mkdir -p "$work"
	mount -t tmpfs tmpfs "$work"
	mkdir "$work/dev" "$work/dev/pts" "$work/dev/shm" "$work/tmp"
	local device
	for device in null:3 zero:5 full:7 random:8 urandom:9; do
		mknod -m 666 "$work/dev/${device%:*}" c 1 "${device#*:}"
	done
	mknod -m 666 "$work/dev/tty" c 5 0
	ln -s pts/ptmx "$work/dev/ptmx"
	ln -s /proc/self/fd "$work/dev/fd"
	mount -t devpts -o newinstance,ptmxmode=666 devpts "$work/dev/pts"
	mount --rbind "$work/dev" /dev
	mount -t tmpfs tmpfs /run

	local programs=$build/bin
	if [ "$1" = crun ] || [[ " $older " == *" $2 "* ]]; then programs=$build/bin-1.0; fi
	cp "$programs/runtimetest" "$build/rootfs-amd64.tar.gz" "$work"
	cd "$work"
	local status=0
	RUNTIME=$(cat "$build/$1/path") TMPDIR=$work/tmp "$programs/$2" </dev/null || status=$?
	exit $status
}

# Runs PROGRAM in a sandbox and notes whether it passed.
one() { # RUNTIME PROGRAM SECONDS
	local out=$build/$1/$2.tap status=0
	group=winbox-validate-$$
	readarray -t roots <<<"$(hierarchies | cut -d' ' -f1)"
	trap 'remove_groups "$group" "${roots[@]}"' EXIT
	(
		for root in "${roots[@]}"; do
			mkdir "$root/$group"
			if [ -e "$root/$group/cpuset.cpus" ] && [ -z "$(cat "$root/$group/cpuset.cpus")" ] && [ -w "$root/cpuset.cpus" ]; then
				cat "$root/cpuset.cpus" >"$root/$group/cpuset.cpus"
				cat "$root/cpuset.mems" >"$root/$group/cpuset.mems"
			fi
			echo "$BASHPID" >"$root/$group/cgroup.procs"
		done
		exec unshare --mount --pid --ipc --uts --cgroup --fork --kill-child --mount-proc --propagation private "$self" --inside "$1" "$2"
	) >"$out" 2>&1 &
	# Nothing but the death of unshare(1) ends the sandbox, also when this script is interrupted.
	trap : INT TERM
	timeout --foreground "$3" tail -s 0.1 -f --pid=$! /dev/null || kill -KILL $!
	wait $! 2>/dev/null || status=$?
	judge "$out" "$status" >"$build/$1/$2.verdict"
}

# Removes the groups that a program made. A task that version 1 has frozen does not even die of SIGKILL.
remove_groups() { # GROUP ROOT...
	local group=$1 root dir _
	shift
	for root; do
		[ -d "$root/$group" ] || continue
		for _ in {1..50}; do
			for dir in $(find "$root/$group" -depth -type d); do
				[ ! -e "$dir/freezer.state" ] || echo THAWED >"$dir/freezer.state"
				[ ! -e "$dir/cgroup.freeze" ] || echo 0 >"$dir/cgroup.freeze"
				rmdir "$dir" 2>/dev/null || true
			done
			[ -d "$root/$group" ] || continue 2
			sleep 0.1
		done
		echo "validate.sh: $root/$group: has processes still, left there" >&2
	done
}

# Prints pass, or what is wrong with a program's output, which is in the Test Anything Protocol. Some programs print more
# than one list of results; those of hooks print none, and an error only when something is wrong.
judge() { # FILE STATUS
	awk -v status="$2" '
		/^(not )?ok( |$)/ { results++; since++ }
		/^not ok( |$)/ && !/# *(TODO|SKIP)/ { bad++ }
		/^1\.\.[0-9]+/ { if (since != substr($1, 4) + 0) torn = 1; since = 0 }
		/^ *"error": "./ { error = 1 }
		END {
			if (status == 137) print "took too long"
			else if (status != 0) print "exit code " status
			else if (bad) print bad " of " results " not ok"
			else if (torn || since > 0) print "incomplete"
			else if (!results && error) print "error"
			else print "pass"
		}' "$1"
}

case ${1-} in
--inside) inside "$2" "$3" ;;
--one)
	one "$2" "$3" "$4"
	exit
	;;
esac

runtimes=winbox,runc,crun jobs=4 limit=120 verbose=
while getopts "vr:j:t:" o; do
	case $o in
	v) verbose=1 ;;
	r) runtimes=$OPTARG ;;
	j) jobs=$OPTARG ;;
	t) limit=$OPTARG ;;
	*) sed -n 2p "$self" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ "$(id -u)" = 0 ] || fail "needs root, to make containers"
runtimes=${runtimes//,/ }

mkdir -p "$build/bin" "$build/bin-1.0"
module=github.com/opencontainers/runtime-tools
folder() { (cd test/validate && go mod download "$1" && go list -m -f '{{.Dir}}' "$1"); }
made=$( (cat test/validate/go.{mod,sum} && go version) | sha256sum)
# Linking the programs takes longer than running them.
build_programs() { # FOLDER FLAG... PACKAGE...
	[ "$(cat "$build/$1/.made" 2>/dev/null)" != "$made $*" ] || return 0
	(cd test/validate && CGO_ENABLED=0 GOFLAGS='' go build -ldflags -s -o "$build/$1/" "${@:2}")
	echo "$made $*" >"$build/$1/.made"
}
build_programs bin tool
cp "$(folder $module)/rootfs-amd64.tar.gz" "$build/"
# What runs with bundles of version 1.0 are programs that say so and are the same otherwise. crun 1.8 takes no others.
spec=github.com/opencontainers/runtime-spec
rm -rf "$build/runtime-spec"
cp -r --no-preserve=mode "$(folder $spec)" "$build/runtime-spec"
sed -i -E 's/(VersionMinor|VersionPatch) = [0-9]+/\1 = 0/' "$build/runtime-spec/specs-go/version.go"
echo "module $spec" >"$build/runtime-spec/go.mod"
cp test/validate/go.mod "$build/1.0.mod"
cp test/validate/go.sum "$build/1.0.sum"
go mod edit -replace "$spec=$build/runtime-spec" "$build/1.0.mod"
packages=tool
[[ " $runtimes " == *" crun "* ]] || packages="$module/cmd/runtimetest $(printf "$module/validation/%s " $older)"
# shellcheck disable=SC2086
build_programs bin-1.0 -modfile "$build/1.0.mod" $packages
programs=$*
[ -n "$programs" ] || programs=$(cd test/validate && go list tool | sed -n "s|^$module/validation/||p" | sort)

for runtime in $runtimes; do
	path=${WINBOX:-build/winbox}
	[ "$runtime" = winbox ] || path=$(command -v "$runtime") || fail "$runtime is missing: test/install.sh validate installs it"
	[ -x "$path" ] || fail "$path is missing: run make build"
	rm -rf --one-file-system "${build:?}/$runtime"
	mkdir "$build/$runtime"
	realpath "$path" >"$build/$runtime/path"
done
for program in $programs; do
	[ -x "$build/bin/$program" ] || fail "there is no program $program"
	for runtime in $runtimes; do
		echo "--one $runtime $program $limit"
	done
done | xargs -P "$jobs" -L 1 "$self"

# What expected.txt says of a program: pass, either or nothing.
expected() { # PROGRAM
	case $(sed -nE "s/^$1 ([a-z0-9]+).*/\1/p" test/validate/expected.txt) in
	pass) echo pass ;;
	cgroup1) ! hierarchies | grep -q ' cgroup ' || echo pass ;;
	either) echo either ;;
	esac
}

passes() { [ "$(cat "$build/$1/$2.verdict")" = pass ]; }

table="program $runtimes"$'\n'
declare -A total
wrong=()
for program in $programs; do
	table+=$program others=
	for runtime in $runtimes; do
		if passes "$runtime" "$program"; then
			table+=" pass"
			total[$runtime]=$((${total[$runtime]-0} + 1))
			[ "$runtime" = winbox ] || others+=" $runtime"
		else
			table+=" -"
		fi
	done
	table+=$'\n'
	[[ " $runtimes " == *" winbox "* ]] && ! passes winbox "$program" || continue
	case $(expected "$program") in
	pass) wrong+=("$program: fails for winbox, and must not") ;;
	either) ;;
	*) [ -z "$others" ] || wrong+=("$program: passes for$others, fails for winbox") ;;
	esac
done
column -t <<<"$table"

for runtime in $runtimes; do
	for program in $programs; do
		passes "$runtime" "$program" && [ -z "$verbose" ] && continue
		echo "--- $runtime $program: $(cat "$build/$runtime/$program.verdict")"
		if [ -n "$verbose" ]; then cat "$build/$runtime/$program.tap"; else grep '^not ok' "$build/$runtime/$program.tap" || true; fi
	done
done
for runtime in $runtimes; do
	echo "$runtime ${total[$runtime]-0} of $(wc -w <<<"$programs")"
done
[ ${#wrong[@]} -eq 0 ] || fail "$(printf '%s\n' "${wrong[@]}")"
