#!/bin/bash
# podman.sh: Linux containers under podman as root.
. "$(dirname "$(realpath "$0")")/lib.sh"

containers_config
busybox_root $work/root
tar -C $work/root -c . | podman import -q - box >/dev/null || die "podman import failed"
image=localhost/box
# podman makes the parent of its control groups, the place of network namespaces and a network's bridge once.
podman run --rm $image true || die "podman run failed"
remember

# box ARGS...: a container that is gone afterwards.
box() { timeout -k 5 $LIMIT podman run --rm --network none "$@"; }
# start NAME ARGS...: one that stays, in the background.
start() {
	local name=$1
	shift
	timeout -k 5 $LIMIT podman run -d --network none --name "$name" "$@" >/dev/null || fail "start of $name" "podman run -d failed"
}
grep_logs() { podman logs "$1" 2>&1 | grep -qE -- "$2"; }
inspect() { podman inspect --format "$2" "$1"; }
remove() { podman rm -f -t 0 "$@" >/dev/null; }
# cgroup_of CONTAINER CONTROLLER: its control group's folder.
cgroup_of() { echo "/sys/fs/cgroup/$2$(sed -n "s/^[0-9]*:$2://p" "/proc/$(inspect "$1" '{{.State.Pid}}')/cgroup")"; }

# frozen CONTAINER: by version 1 or 2 of control groups.
frozen() {
	local v1=$(cgroup_of "$1" freezer) v2=/sys/fs/cgroup/unified$(sed -n 's/^0:://p' "/proc/$(inspect "$1" '{{.State.Pid}}')/cgroup")
	grep -qx FROZEN "$v1/freezer.state" || grep -qx 'frozen 1' "$v2/cgroup.events"
}

# ---- Output, exit codes

expect 'run: output' 0 hello box $image echo hello
run box $image sh -c 'echo out; echo err >&2'
equal 'run: standard output and error are apart' 'out,err' "$out,$err"
with_input() { echo from outside | box -i $image cat; }
expect 'run -i: input' 0 'from outside' with_input
for c in 0 1 42 255; do
	expect "exit code $c" $c '' box $image sh -c "exit $c"
done
expect 'exit code after a signal' 143 '' box --init $image sh -c 'kill -TERM $$'
expect_match 'command not in PATH' 127 'nope.*: executable file not found in \$PATH: OCI runtime attempted to invoke a command that was not found' box $image nope
expect_match 'command not there' 127 'no such file or directory: OCI runtime attempted to invoke a command that was not found' box $image /nope
expect_match 'command not executable' 126 'permission denied: OCI permission denied' box $image /bin/noexec
expect_match 'command is a directory' 126 'is a directory|permission denied' box $image /etc
expect_match 'current directory is a file' 126 'not a directory' box -w /etc/motd $image pwd
expect_match 'mount over a file of another kind' 126 'not a directory|Not a directory' box -v /etc:/etc/motd $image true
expect_match '--runtime by path' 0 '^by path$' podman --runtime "$RUNTIME" run --rm --network none $image echo by path
expect_match '--log-level debug' 0 '^fine$' podman --log-level debug run --rm --network none $image echo fine
expect_match 'podman info names the runtime' 0 "^$RUNTIME_NAME $RUNTIME$" podman info --format '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}'

# ---- Terminals

expect_match 'run -it: size, resize, exit code' 5 '^/dev/pts/0' \
	pty size:30x100 'expect:# ' 'send:stty size; tty\n' 'expect:30 100' 'expect:# ' size:41x121 'send:sleep 1; stty size\n' 'expect:41 121' 'send:exit 5\n' \
	-- podman run --rm -it --network none $image sh
expect_match 'run -it: Ctrl-C' 9 caught \
	pty 'expect:ready' 'send:\x03' 'expect:caught' -- podman run --rm -it --network none $image sh -c 'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.1; done'
start tty -t $image sh -c 'while :; do echo tick; sleep 0.1; done'
expect_match 'exec -it: size, resize, exit code' 6 '^/dev/pts/[1-9]' \
	pty size:31x101 'expect:# ' 'send:stty size; tty\n' 'expect:31 101' 'expect:# ' size:42x122 'send:sleep 1; stty size\n' 'expect:42 122' 'send:exit 6\n' \
	-- podman exec -it tty sh
expect_match 'attach, detach by its keys' 0 tick pty expect:tick 'send:\x10\x11' -- podman attach tty
expect 'it runs on after the detachment' 0 running inspect tty '{{.State.Status}}'
remove tty

# ---- exec

start c -e A=1 $image sh -c 'trap "exit 7" TERM; trap "echo hup" HUP; echo started; while :; do sleep 0.1; done'
expect 'exec: output' 0 hello podman exec c echo hello
expect 'exec: exit code' 43 '' podman exec c sh -c 'exit 43'
expect 'exec: its process is killed' 137 '' podman exec c sh -c 'kill -9 $$'
exec_input() { echo to exec | podman exec -i c cat; }
expect 'exec -i: input' 0 'to exec' exec_input
expect 'exec: variables, current directory' 0 '1 2 /tmp' podman exec -e B=2 -w /tmp c sh -c 'echo $A $B $PWD'
expect 'exec --user: number' 0 'uid=1000(user) gid=50(staff)' podman exec --user 1000:50 c id
expect 'exec --user: name' 0 'uid=1000(user) gid=1000(user) groups=50(staff)' podman exec --user user c id
expect 'exec --privileged' 0 '' podman exec --privileged c sh -c 'grep CapEff /proc/1/status | grep -F "$(grep CapEff /proc/self/status)"; [ "$(grep CapEff /proc/self/status | cut -f2)" = "$(grep CapBnd /proc/self/status | cut -f2)" ]'
check 'exec -d' podman exec -d c sh -c 'echo by exec >/tmp/detached'
check 'exec -d has been run' eventually podman exec c grep -q 'by exec' /tmp/detached
expect_match 'exec: not in PATH' 127 'nope.*: executable file not found in \$PATH: OCI runtime attempted to invoke a command that was not found' podman exec c nope
expect_match 'exec: not there' 127 'no such file or directory: OCI runtime attempted to invoke a command that was not found' podman exec c /nope
expect_match 'exec: not executable' 126 'permission denied: OCI permission denied' podman exec c /bin/noexec
expect_match 'exec: current directory not there' 127 '/nope.*no such file or directory: OCI runtime attempted to invoke a command that was not found' podman exec -w /nope c true
expect_match 'exec: no such user' 255 'nobody-here' podman exec --user nobody-here c true
expect 'exec in the namespaces of the container' 0 same podman exec c sh -c 'for n in cgroup ipc mnt net pid uts; do [ "$(readlink /proc/1/ns/$n)" = "$(readlink /proc/self/ns/$n)" ] || echo $n; done; echo same'
expect 'exec in the control groups of the container' 0 '' podman exec c sh -c 'grep -v name= /proc/1/cgroup >/tmp/1; grep -v name= /proc/self/cgroup | diff /tmp/1 -'

# ---- kill, stop, pause

check 'kill -s HUP' podman kill -s HUP c
check 'its handler has run' eventually grep_logs c '^hup$'
check 'pause' podman pause c
expect 'status of a paused container' 0 paused inspect c '{{.State.Status}}'
check 'its processes are frozen' frozen c
expect_match 'exec in a paused container' 255 'can only create exec sessions on running containers' podman exec c true
expect_match 'pause of a paused container' 125 'paused' podman pause c
check 'unpause' podman unpause c
expect 'exec after unpause' 0 on podman exec c echo on
expect_match 'top' 0 '^1 +root +sh' podman top c pid user comm
expect_match 'top with options of ps' 0 'sh -c trap' podman top c -eo pid,args
expect_match 'stats' 0 '^c [1-9][0-9]* .*B / .*B$' podman stats --no-stream --format '{{.Name}} {{.PIDs}} {{.MemUsage}}' c
check 'stop' podman stop -t 50 c
expect 'stop: SIGTERM was handled, within the grace period' 0 'exited 7' inspect c '{{.State.Status}} {{.State.ExitCode}}'
expect_match 'exec in a stopped container' 255 'can only create exec sessions on running containers' podman exec c true
expect_match 'kill of a stopped container' 125 'can only kill running containers' podman kill c
check 'start again' podman start c
expect 'exec after start' 0 again podman exec c echo again
check 'kill' podman kill c
expect 'wait: exit code of a killed container' 0 137 podman wait c
expect_match 'logs' 0 '^started$' podman logs c
remove c
start deaf $image sh -c 'trap "" TERM; while :; do sleep 0.1; done'
check 'stop of a program that does not listen' podman stop -t 1 deaf
expect 'it was killed' 0 137 inspect deaf '{{.State.ExitCode}}'
remove deaf
start usr --stop-signal USR1 $image sh -c 'trap "exit 8" USR1; while :; do sleep 0.1; done'
check '--stop-signal' podman stop -t 50 usr
expect '--stop-signal has arrived' 0 8 inspect usr '{{.State.ExitCode}}'
remove usr
start frozen $image sleep 1000
podman pause frozen >/dev/null
check 'rm -f of a paused container' podman rm -f -t 0 frozen

finish
