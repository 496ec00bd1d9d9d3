#!/bin/bash
# podman.sh: Linux containers under podman as root.
. "$(dirname "$(realpath "$0")")/lib.sh"

containers_config
image=localhost/box
import_busybox $image
# podman makes the parent of its control groups, the place of network namespaces and a network's bridge once.
podman run --rm $image true || die "podman run failed"
remember

grep_logs() { podman logs "$1" 2>&1 | grep -qE -- "$2"; }
# cgroup_of CONTAINER CONTROLLER: its control group's folder.
cgroup_of() { echo "/sys/fs/cgroup/$2$(sed -n "s/^[0-9]*:$2://p" "/proc/$(inspect "$1" '{{.State.Pid}}')/cgroup")"; }

# equals TEXT CMD...: it prints TEXT.
equals() { [ "$("${@:2}" 2>&1)" = "$1" ]; }
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

# With its log as JSON, podman takes the message from there.
sed "s/^\[engine\]$/&\nruntime_supports_json = [\"$RUNTIME_NAME\"]/" $CONTAINERS_CONF >$work/json.conf
json() { CONTAINERS_CONF=$work/json.conf box "$@"; }
expect_match 'runtime_supports_json: command not in PATH' 127 'nope.*: executable file not found in \$PATH: OCI runtime attempted to invoke a command that was not found' json $image nope
expect 'runtime_supports_json: exit code' 42 '' json $image sh -c 'exit 42'

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
expect_match 'attach, detach by its key' 0 tick pty expect:tick 'send:\x18' -- podman attach --detach-keys ctrl-x tty
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

# ---- Restart, logs, copies, events

start crashing --restart on-failure:2 $image sh -c 'echo run; exit 3'
check 'restart after a crash' eventually equals 2 inspect crashing '{{.RestartCount}}'
check 'no third one' eventually equals 'exited 3' inspect crashing '{{.State.Status}} {{.State.ExitCode}}'
equal 'its output of three runs' 3 "$(podman logs crashing | grep -c '^run$')"
remove crashing
start killed --restart always $image sleep 1000
pid=$(inspect killed '{{.State.Pid}}')
kill -KILL "$pid"
restarted() { [ "$(inspect killed '{{.State.Status}}')" = running ] && [ "$(inspect killed '{{.State.Pid}}')" != "$pid" ]; }
check 'restart after a kill from outside' eventually restarted
check 'podman restart' podman restart -t 0 killed
expect 'exec after a restart' 0 '' podman exec killed true
echo 'into it' >$work/file
check 'cp into a running container' podman cp $work/file killed:/tmp/in
expect 'it has arrived' 0 'into it' podman exec killed cat /tmp/in
podman exec killed sh -c 'mkdir /tmp/d; echo out of it >/tmp/d/f'
check 'cp out of a running container' podman cp killed:/tmp/d $work/copied
equal 'a folder has arrived' 'out of it' "$(cat $work/copied/f)"
expect_match 'diff' 0 '^A /tmp/d/f$' podman diff killed
check 'commit' podman commit -q killed localhost/committed
remove killed
expect 'run of the committed image' 0 'into it' box localhost/committed cat /tmp/in
podman rmi -f localhost/committed >/dev/null
expect_match 'events' 0 'container restart' podman events --stream=false --since 5m --format '{{.Type}} {{.Status}}' --filter container=killed
podman create --name later --network none $image sh -c 'echo later; exit 4' >/dev/null
check 'init' podman init later
expect 'status of an initialized container' 0 initialized inspect later '{{.State.Status}}'
expect 'start -a' 4 later podman start -a later
remove later

# ---- Limits

# What the program sees and what holds it back, on version 1 of control groups and on version 2.
limit() { [ -f /sys/fs/cgroup/cgroup.controllers ] && echo "$2" || echo "$1"; }
cg=/sys/fs/cgroup
expect '-m: the limit seen inside' 0 33554432 box -m 32m $image cat "$cg/$(limit memory/memory.limit_in_bytes memory.max)"
expect '-m: too much memory' 137 '' box -m 32m $image tail /dev/zero
expect_match '-m: the kernel has counted it' 0 '^oom_kill 1$' \
	box -m 32m $image sh -c "tail /dev/zero; cat $cg/$(limit memory/memory.oom_control memory.events)"
expect '--memory-swap, --memory-reservation' 0 '67108864 16777216' \
	box -m 32m --memory-swap 64m --memory-reservation 16m $image sh -c "cd $cg; echo \$(cat $(limit 'memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes' 'memory.swap.max memory.low'))"
expect_match '--pids-limit' 0 "can't fork|Resource temporarily unavailable" box --pids-limit 5 $image sh -c '(for i in 1 2 3 4 5 6 7 8; do sleep 5 & done); true'
expect '--cpus' 0 '150000 100000' box --cpus 1.5 $image sh -c "cd $cg; echo \$(cat $(limit 'cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us' cpu.max))"
expect '--cpu-shares' 0 512 box --cpu-shares 512 $image cat "$cg/cpu/cpu.shares"
expect '--cpuset-cpus' 0 1 box --cpuset-cpus 0 $image nproc
disk=$(find /dev -maxdepth 1 -type b | sort | head -n 1)
expect_match '--device-read-bps' 0 "^$((0x$(stat -c %t $disk))):$((0x$(stat -c %T $disk))) (.*rbps=)?1048576" box --device-read-bps $disk:1mb $image cat "$cg/$(limit blkio/blkio.throttle.read_bps_device io.max)"
expect '--ulimit' 0 $'1234\n77' box --ulimit nofile=1234:1234 --ulimit nproc=77:77 $image sh -c 'ulimit -n; sed -n "s/^Max processes *\([0-9]*\) .*/\1/p" /proc/self/limits'
expect '--oom-score-adj' 0 500 box --oom-score-adj 500 $image cat /proc/self/oom_score_adj
start u -m 32m $image sleep 1000
check 'update' podman update -m 64m --memory-swap 64m --cpus 0.5 --cpu-shares 300 --cpuset-cpus 1 u
expect 'the limits are changed' 0 '67108864 50000 300 1' podman exec u sh -c "cd $cg; echo \$(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus)"
expect_match 'update: too little memory' 125 'busy|cannot|invalid|unable' podman update -m 4k u
remove u

# ---- Files

mkdir $work/volume
echo shared >$work/volume/f
expect '-v' 0 shared box -v $work/volume:/data $image sh -c 'cat /data/f; echo new >/data/new'
equal '-v: written outside' new "$(cat $work/volume/new)"
expect_match '-v ro' 1 'Read-only file system' box -v $work/volume:/data:ro $image touch /data/x
expect '-v Z' 0 shared box -v $work/volume:/data:Z $image cat /data/f
expect '-v of a file' 0 shared box -v $work/volume/f:/etc/motd $image cat /etc/motd
expect '-v noexec' 126 '' box -v $work/root/bin:/data:noexec $image sh -c '/data/busybox true 2>/dev/null'
expect '-v named' 0 kept sh -c "podman run --rm --network none -v vol:/v $image sh -c 'echo kept >/v/f' && podman run --rm --network none -v vol:/v $image cat /v/f"
podman volume rm vol >/dev/null
expect '-v over what the image has: copied up' 0 'a file of the image' box -v vol:/etc $image cat /etc/motd
podman volume rm vol >/dev/null
expect_match '--mount type=bind,readonly' 1 'Read-only file system' box --mount type=bind,src=$work/volume,dst=/data,readonly $image touch /data/x
expect '--mount type=tmpfs' 0 'tmpfs 1024' box --mount type=tmpfs,dst=/data,tmpfs-size=1m $image sh -c 'echo $(stat -f -c %T /data) $(df -k /data | awk "END { print \$2 }")'
expect_match '--tmpfs' 0 '^tmpfs /t tmpfs rw,nosuid,nodev,noexec,.*size=2048k' box --tmpfs /t:rw,size=2m,noexec $image cat /proc/mounts
expect '--tmpfs: copied up' 0 'a file of the image' box --tmpfs /etc $image cat /etc/motd
expect '--read-only' 0 'ro,tmp,run' box --read-only $image sh -c 'touch /x 2>/dev/null || echo -n ro; touch /tmp/x && echo -n ,tmp; touch /run/x && echo ,run'
expect '--read-only --read-only-tmpfs=false' 1 '' box --read-only --read-only-tmpfs=false $image sh -c 'touch /tmp/x 2>/dev/null'
expect '--shm-size' 0 1024 box --shm-size 1m $image sh -c 'df -k /dev/shm | awk "END { print \$2 }"'
expect '--device' 0 'a e5' box --device /dev/fuse $image sh -c 'echo $(stat -c "%t %T" /dev/fuse)'
expect_match 'a device that was not given' 1 'Operation not permitted|Permission denied' box --cap-add MKNOD $image sh -c 'mknod /d b 253 0; cat /d'
expect 'devices of every container' 0 '' box $image sh -c 'for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo $d; done; [ -e /dev/ptmx ] && [ -d /dev/mqueue ] && [ "$(readlink /dev/fd)" = /proc/self/fd ] || echo others'
expect 'masked and read-only paths' 0 '' box $image sh -c 'cat /proc/keys /proc/timer_list 2>/dev/null; ls /sys/firmware; ! touch /proc/sys/kernel/hostname 2>/dev/null || echo writable'
expect '--rootfs' 0 'a file of the image' box --rootfs $work/root cat /etc/motd
expect '--rootfs :O' 0 '' box --rootfs $work/root:O touch /etc/new
check '--rootfs :O leaves the folder alone' test ! -e $work/root/etc/new

# ---- Users, rights

expect '--user name' 0 'uid=1000(user) gid=1000(user) groups=50(staff),1000(user)' box --user user $image id
expect '--user numbers, --group-add' 0 'uid=7(7) gid=8(8) groups=8(8),9' box --user 7:8 --group-add 9 $image id
expect '--umask' 0 0077 box --umask 0077 $image sh -c umask
in_status() { box "${@:2}" $image sed -n "s/^$1:\t//p" /proc/self/status; }
expect 'capabilities' 0 00000000a80425fb in_status CapEff
expect 'capabilities of a user' 0 0000000000000000 in_status CapEff --user 1000
expect '--cap-drop all' 0 0000000000000000 in_status CapBnd --cap-drop all
expect '--cap-drop all --cap-add sys_time' 0 0000000002000000 in_status CapEff --cap-drop all --cap-add sys_time
expect '--cap-add to a user' 0 0000000002000000 in_status CapAmb --user 1000 --cap-add sys_time
expect '--privileged' 0 "$(sed -n 's/^CapBnd:\t//p' /proc/self/status)" in_status CapEff --privileged
expect '--privileged: all devices' 0 '' box --privileged $image test -c /dev/fuse
expect 'seccomp: default profile' 0 2 in_status Seccomp
expect '--security-opt seccomp=unconfined' 0 0 in_status Seccomp --security-opt seccomp=unconfined
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}' >$work/seccomp.json
expect_match '--security-opt seccomp=FILE' 1 'not supported' box --security-opt seccomp=$work/seccomp.json $image mkdir /d
expect '--security-opt no-new-privileges' 0 1 in_status NoNewPrivs --security-opt no-new-privileges
expect '--security-opt mask, unmask' 0 '0,masked' box --security-opt mask=/etc/passwd --security-opt unmask=/sys/firmware $image sh -c 'echo $(wc -c </etc/passwd),masked'
expect '--sysctl' 0 77 box --sysctl kernel.shmmni=77 $image cat /proc/sys/kernel/shmmni
expect '--uidmap' 0 '0 100000 5000' box --uidmap 0:100000:5000 --gidmap 0:100000:5000 $image sh -c 'echo $(cat /proc/self/uid_map)'
expect '--uidmap: files of the image' 0 0 box --uidmap 0:100000:5000 --gidmap 0:100000:5000 $image stat -c %u /etc/motd
expect '--init' 0 'podman-init' box --init $image sh -c 'basename $(tr "\0" " " </proc/1/cmdline | cut -d" " -f1)'

# ---- Namespaces, network

same() { [ "$(readlink "/proc/self/ns/$1")" = "$(box "${@:2}" $image readlink "/proc/self/ns/$1")" ]; }
check '--pid host' same pid --pid host
check '--ipc host' same ipc --ipc host
check '--uts host' same uts --uts host
check '--cgroupns host' same cgroup --cgroupns host
expect '--hostname' 0 box1 box --hostname box1 $image hostname
expect '--network none' 0 lo box $image ls /sys/class/net
expect '--add-host, --dns' 0 '10.9.8.7 other nameserver 10.9.8.6' podman run --rm --add-host other:10.9.8.7 --dns 10.9.8.6 $image sh -c 'echo $(grep other /etc/hosts) $(cat /etc/resolv.conf)'
expect 'default network' 0 'eth0 1' podman run --rm $image sh -c 'echo $(ls /sys/class/net | grep -v lo) $(ping -c 1 -W 5 $(ip route | sed -n "s/default via \([^ ]*\).*/\1/p") | grep -c "1 packets received")'
podman run -d --name web -p 127.0.0.1:8080:80 $image sh -c 'mkdir /www; echo page >/www/index.html; exec httpd -f -h /www' >/dev/null
check '-p: a published port' eventually equals page wget -qO- http://127.0.0.1:8080/
expect '--network container:' 0 page podman run --rm --network container:web $image wget -qO- http://127.0.0.1/
expect '--pid container:' 0 httpd podman run --rm --network none --pid container:web $image cat /proc/1/comm
remove web
check '--network host' equals "$(readlink /proc/self/ns/net)" podman run --rm --network host $image readlink /proc/self/ns/net

# ---- Health checks

podman run -d --name sick --network none --health-interval disable --health-cmd 'test -e /well' $image sleep 1000 >/dev/null
expect 'health check fails' 1 unhealthy podman healthcheck run sick
podman exec sick touch /well
check 'health check succeeds' podman healthcheck run sick
remove sick

# ---- Pods

podman pod create --name pod --share net,ipc,uts,pid --hostname inpod >/dev/null || fail 'pod create' 'see above'
for c in one two; do
	podman run -d --pod pod --name $c $image sh -c 'echo started; exec sleep 1000' >/dev/null || fail "run in a pod: $c" 'see above'
done
expect 'pod: one network, ipc, uts and pid namespace' 0 '' podman exec two sh -c 'for n in net ipc uts pid; do [ "$(readlink /proc/1/ns/$n)" = "$(readlink /proc/self/ns/$n)" ] || echo $n; done'
expect 'pod: host name' 0 inpod podman exec one hostname
expect 'pod: each sees the processes of the others' 0 2 podman exec one sh -c 'ps -o args | grep -c "^sleep 1000"'
expect_match 'pod: exit code' 6 . podman run --rm --pod pod $image sh -c 'echo here; exit 6'
check 'pod pause' podman pod pause pod
expect 'pod: all are paused' 0 'paused paused' sh -c 'echo $(podman inspect --format "{{.State.Status}}" one two)'
check 'pod unpause' podman pod unpause pod
check 'kill of one' podman kill one
expect 'the other runs on' 0 '' podman exec two true
check 'generate kube' podman generate kube pod -f $work/pod.yaml
check 'pod stop' podman pod stop -t 0 pod
check 'pod start' podman pod start pod
expect 'pod: exec after start' 0 '' podman exec one true
remove_pods
check 'play kube' podman play kube $work/pod.yaml
expect 'play kube: its containers run' 0 'running running' sh -c 'echo $(podman inspect --format "{{.State.Status}}" pod-one pod-two)'
expect 'play kube: logs' 0 started podman logs pod-one
note_pods
check 'play kube --down' podman play kube --down $work/pod.yaml
remove_pods

# ---- Many, and what is left

parallel=()
for i in $(seq 20); do
	box $image sh -c "sleep 0.$i; echo $i; exit $i" >$work/parallel.$i 2>&1 &
	parallel+=($!)
done
wrong=
for i in $(seq 20); do
	code=0
	wait ${parallel[i - 1]} || code=$?
	[ "$code $(cat $work/parallel.$i)" = "$i $i" ] || wrong+="$i: $code $(cat $work/parallel.$i) "
done
equal '20 in parallel' '' "$wrong"
for i in $(seq 10); do start many$i $image sleep 1000 & done
wait
equal '10 in the background' 10 "$(podman ps -q | wc -l)"
# conmon is what watches over a container; without it podman has to find out itself.
kill -KILL "$(inspect many1 '{{.State.ConmonPid}}')"
kill -KILL "$(inspect many2 '{{.State.Pid}}')"
check 'rm -f of all, one without its conmon, one dead' podman rm -f -t 0 -a
# podman forgets it, but does not tell the runtime.
for id in $("$RUNTIME" list -q); do check 'delete --force of what podman has forgotten' "$RUNTIME" delete --force $id; done
expect 'no container is known to the runtime' 0 '' "$RUNTIME" list -q
left_nothing 'nothing is left' /run/$RUNTIME_NAME

finish
