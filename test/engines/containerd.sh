#!/bin/bash
# containerd.sh: containers under containerd, by ctr and the shim io.containerd.runc.v2.
# Another docker or containerd may be in /usr/local; the tests are about the distribution's.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
. "$(dirname "$(realpath "$0")")/lib.sh"

# ---- The daemon, and an image

export CONTAINERD_ADDRESS=$work/containerd.sock CONTAINERD_NAMESPACE=box
cat >$work/containerd.toml <<-END
	version = 2
	root = "$work/containerd"
	state = "$work/containerd.state"
	disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
	[grpc]
	address = "$CONTAINERD_ADDRESS"
	[ttrpc]
	address = "$CONTAINERD_ADDRESS.ttrpc"
END

start_containerd() {
	containerd -c $work/containerd.toml </dev/null >>$work/containerd.log 2>&1 &
	daemon=$!
	eventually ctr version || die "containerd does not start: $(tail -n 3 $work/containerd.log)"
}

# docker_archive FILE NAME ROOT: what `docker save` writes, with ROOT as the only layer.
docker_archive() {
	local dir=$work/archive digest
	mkdir -p $dir
	tar -C "$3" -cf $dir/layer.tar .
	digest=$(sha256sum <$dir/layer.tar | cut -d' ' -f1)
	cat >$dir/config.json <<-END
		{"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
		"rootfs": {"type": "layers", "diff_ids": ["sha256:$digest"]}, "history": [{"created_by": "containerd.sh"}]}
	END
	echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$2\"], \"Layers\": [\"layer.tar\"]}]" >$dir/manifest.json
	tar -C $dir -cf "$1" .
	rm -r $dir
}

image=docker.io/library/box:latest
flags=(--runtime io.containerd.runc.v2 --runc-binary "$RUNTIME")
run=(ctr run --rm "${flags[@]}")
detached=(ctr run --detach --null-io "${flags[@]}")

start_containerd
busybox_root $work/root
docker_archive $work/image.tar $image $work/root
ctr image import $work/image.tar >/dev/null || die "ctr image import failed"
# The shim makes the directory of states, the runtime the parent of control groups, once.
"${run[@]}" $image first true || die "ctr run failed"
ctr events >$work/events 2>&1 &
remember

# state ID [WANT]: the state of a task, or whether it is that.
state() { [ "$(ctr task ls | awk -v id="$1" '$1 == id { print $3 }')" = "${2-}" ]; }
# remove ID: kills a task and removes it with its container.
remove() { ctr task delete --force "$1" >/dev/null 2>&1; ctr container delete "$1"; }
event() { grep -q "$CONTAINERD_NAMESPACE $1 .*\"container_id\":\"$2\"" $work/events; }
group() { echo /sys/fs/cgroup/$1/$CONTAINERD_NAMESPACE/$2; }

# ---- run

expect 'run: output' 0 hello "${run[@]}" $image a echo hello
expect 'run: standard error' 0 '' "${run[@]}" $image a sh -c 'echo oops >&2'
equal 'run: what went to standard error' oops "$err"
expect 'exit code 42' 42 '' "${run[@]}" $image a sh -c 'exit 42'
expect 'exit code 137 of a child killed' 137 '' "${run[@]}" $image a sh -c 'sh -c "kill -KILL \$\$"; exit $?'
expect_match 'not found' 1 'create failed: .*exec: "nope": executable file not found in \$PATH' "${run[@]}" $image a nope
expect_match 'not found by path' 1 'exec: "/nope": stat /nope: no such file or directory' "${run[@]}" $image a /nope
expect_match 'not executable' 1 'exec: "/bin/noexec": permission denied' "${run[@]}" $image a /bin/noexec
left_nothing 'nothing is left of failed creations' /run/containerd/runc/box $work/containerd.state/io.containerd.runtime.v2.task/box

expect 'environment' 0 $'/bin\n/root\n1 2\n/tmp' "${run[@]}" --env 'A=1 2' --cwd /tmp $image a sh -c 'echo $PATH; echo $HOME; echo $A; pwd'

expect 'capabilities' 0 'CapBnd: 00000000a80425fb CapEff: 00000000a80425fb' \
	"${run[@]}" $image a sh -c 'echo $(grep CapBnd /proc/self/status) $(grep CapEff /proc/self/status)'
expect 'capabilities less and more' 0 'CapEff: 00000000a80e21fa' \
	"${run[@]}" --cap-drop CAP_CHOWN --cap-add CAP_SYS_PTRACE --cap-drop CAP_NET_BIND_SERVICE --cap-add CAP_SYS_RAWIO $image a sh -c 'echo $(grep CapEff /proc/self/status)'
expect 'no new privileges' 0 'NoNewPrivs: 1' "${run[@]}" $image a sh -c 'echo $(grep NoNewPrivs /proc/self/status)'
expect 'new privileges' 0 'NoNewPrivs: 0' "${run[@]}" --allow-new-privs $image a sh -c 'echo $(grep NoNewPrivs /proc/self/status)'
expect 'seccomp' 0 $'Seccomp: 2\nrefused' "${run[@]}" --seccomp $image a \
	sh -c 'echo $(grep -w Seccomp: /proc/self/status); unshare -U true 2>/dev/null || echo refused'
expect 'read-only' 0 $'refused\n/dev/shm' "${run[@]}" --read-only $image a sh -c 'touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo /dev/shm'
mkdir $work/share
echo shared >$work/share/in
expect 'volume' 0 shared "${run[@]}" --mount type=bind,src=$work/share,dst=/share,options=rbind:rw $image a sh -c 'cat /share/in; echo back >/share/out'
equal 'volume: what came back' back "$(cat $work/share/out)"
expect 'volume, read-only' 0 $'shared\nrefused' "${run[@]}" --mount type=bind,src=$work/share,dst=/share,options=rbind:ro $image a \
	sh -c 'cat /share/in; touch /share/new 2>/dev/null || echo refused'
expect 'tmpfs' 0 'tmpfs 512' "${run[@]}" --mount type=tmpfs,src=tmpfs,dst=/scratch,options=size=512k $image a \
	sh -c 'df /scratch | awk "NR == 2 { print \$1, \$2 }"'
expect 'device' 0 'crw-rw-rw-' "${run[@]}" --device /dev/zero $image a sh -c 'ls -l /dev/zero | cut -c 1-10'

# ---- Terminals

# The engine passes a new size on when it gets to it.
follow='until [ "$(stty size)" = "20 50" ]; do sleep 0.02; done; stty size; while [ "$(stty size)" = "20 50" ]; do sleep 0.02; done; stty size'

run pty size:20x50 'expect:20 50' size:44x133 'expect:44 133' -- \
	"${run[@]}" --tty $image a sh -c "tty; $follow; exit 5"
equal 'terminal: exit code after resize' 5 "$code"
equal 'terminal: name' /dev/pts/0 "$(tr -d '\r' <<<"$out" | head -n 1)"
run pty 'expect:ready' send:'\x03' -- "${run[@]}" --tty $image a sh -c 'trap "echo interrupted; exit 6" INT; echo ready; while :; do sleep 0.1; done'
equal 'terminal: Ctrl-C' 6 "$code"
left_nothing 'nothing is left of terminals' /run/containerd/runc/box

# ---- A container that stays

check 'detached' "${detached[@]}" --memory-limit 67108864 $image stay sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/tmp/count; sleep 0.02; done'
check 'running' state stay RUNNING
expect 'memory limit' 0 67108864 cat $(group memory stay)/memory.limit_in_bytes
# ctr loses the output of what ends before it has opened the pipes, whatever the runtime: hence the sleep.
expect 'exec: output' 0 'uid=0(root) gid=0(root) groups=0(root)' ctr task exec --exec-id e stay sh -c 'id; sleep 0.2'
expect 'exec: standard input' 0 3 sh -c 'printf "a\nb\nc\n" | ctr task exec --exec-id e stay sh -c "wc -l; sleep 0.2"'
expect 'exec: exit code' 9 '' ctr task exec --exec-id e stay sh -c 'exit 9'
expect 'exec: user and directory' 0 $'1000\n/tmp' ctr task exec --exec-id e --user 1000 --cwd /tmp stay sh -c 'id -u; pwd; sleep 0.2'
expect_match 'exec: not found' 1 'exec failed: .*exec: "nope": executable file not found in \$PATH' ctr task exec --exec-id e stay nope
expect_match 'exec: no such directory' 1 'exec failed: .*/nowhere.*no such file or directory' ctr task exec --exec-id e --cwd /nowhere stay true
run pty size:20x50 'expect:20 50' size:21x51 'expect:21 51' -- ctr task exec --exec-id e --tty stay sh -c "$follow; exit 3"
equal 'exec: terminal' 3 "$code"
ctr task exec --exec-id killed stay sleep 1000 >/dev/null 2>&1 &
killed=$!
eventually event /tasks/exec-started stay && eventually sh -c 'ctr task kill --exec-id killed --signal KILL stay'
wait $killed
equal 'exec: killed' 137 $?
check 'ps' sh -c 'ctr task ps stay | grep -q "^[0-9]"'

check 'pause' ctr task pause stay
check 'paused' state stay PAUSED
count=$(cat /proc/$(ctr task ls | awk '$1 == "stay" { print $2 }')/root/tmp/count)
sleep 0.3
equal 'paused: nothing goes on' "$count" "$(cat /proc/$(ctr task ls | awk '$1 == "stay" { print $2 }')/root/tmp/count)"
expect_match 'exec in a paused container' 1 'cannot exec in a paused' ctr task exec --exec-id e stay true
check 'resume' ctr task resume stay
check 'running again' state stay RUNNING
advanced() { [ "$(cat /proc/$(ctr task ls | awk '$1 == "stay" { print $2 }')/root/tmp/count)" != "$count" ]; }
check 'resumed: it goes on' eventually advanced

metrics() { # the memory limit in the metrics, and whether memory, processor time and processes are counted
	ctr task metrics --format json stay | "$PYTHON" -c '
import json, sys
m = json.load(sys.stdin)
print(m["memory"]["usage"]["limit"], m["memory"]["usage"]["usage"] > 0, m["cpu"]["usage"]["total"] > 0, m["pids"]["current"] > 0)'
}
expect 'metrics' 0 '67108864 True True True' metrics

# The daemon's end is not that of its containers.
kill -KILL $daemon
wait $daemon 2>/dev/null
start_containerd
ctr events >>$work/events 2>&1 &
check 'daemon restarted: running' state stay RUNNING
expect 'daemon restarted: exec' 0 here ctr task exec --exec-id e stay sh -c 'echo here; sleep 0.2'
expect_match 'delete of a running container' 1 'must be stopped' ctr task delete stay
check 'kill' ctr task kill --signal KILL stay
check 'killed' eventually state stay STOPPED
expect_match 'kill of a stopped container' 1 'process already finished|not found' ctr task kill stay
expect_match 'exit code after kill' 0 'task stay exit with non-zero exit code 137' ctr task delete stay
check 'container deleted' ctr container delete stay

check 'terminated: run' "${detached[@]}" $image term sh -c 'trap "exit 4" TERM; while :; do sleep 0.02; done'
check 'terminated: kill' ctr task kill term
check 'terminated' eventually state term STOPPED
expect_match 'terminated: exit code' 0 'task term exit with non-zero exit code 4' ctr task delete term
ctr container delete term

ignore() { # what ignores SIGTERM is killed after the grace period
	ctr task kill ignore && sleep 0.3 && state ignore RUNNING && ctr task kill --signal KILL ignore && eventually state ignore STOPPED
}
"${detached[@]}" $image ignore sleep 1000
check 'SIGTERM ignored by process 1' ignore
remove ignore

check 'kill all: run' "${detached[@]}" --with-ns pid:/proc/self/ns/pid $image all sh -c 'sleep 1000 & sleep 1000 & wait'
check 'kill all' ctr task kill --all --signal KILL all
check 'kill all: stopped' eventually state all STOPPED
nobody() { [ -z "$(cat $(group pids all)/cgroup.procs)" ]; }
check 'kill all: no process is left' eventually nobody
remove all

"${detached[@]}" $image force sleep 1000
check 'forced deletion' ctr task delete --force force
ctr container delete force

# ---- Memory

# The shim begins to watch the container when it has been started.
expect_match 'out of memory: exit code' 137 '' "${run[@]}" --memory-limit 16777216 $image oom sh -c 'sleep 1; exec tail /dev/zero'
check 'out of memory: event' eventually event /tasks/oom oom
for topic in create start exit delete paused resumed exec-added exec-started; do
	check "event /tasks/$topic" eventually event /tasks/$topic stay
done

# ---- Namespaces of another container

"${detached[@]}" $image first sleep 1000
first=$(ctr task ls | awk '$1 == "first" { print $2 }')
expect 'joined namespaces' 0 'sleep 1000' \
	"${run[@]}" --with-ns pid:/proc/$first/ns/pid --with-ns ipc:/proc/$first/ns/ipc $image second \
	sh -c 'tr "\0" " " </proc/1/cmdline | sed "s/ $//"'
remove first

# ---- Many

many() {
	local i jobs=()
	for i in $(seq 20); do
		"${run[@]}" $image many$i sh -c "echo $i; exit $i" >$work/many$i 2>&1 &
		jobs+=($!)
	done
	for i in $(seq 20); do
		wait ${jobs[$((i - 1))]}
		[ "$? $(cat $work/many$i)" = "$i $i" ] || { echo "$i: exit code and output: $(cat $work/many$i)"; return 1; }
	done
}
check '20 in parallel' many
left_nothing 'nothing is left of them' /run/containerd/runc/box $work/containerd.state/io.containerd.runtime.v2.task/box

# ---- A shim that dies

"${detached[@]}" $image orphan sleep 1000
shim=$(ps -e -o pid=,args= | awk '$2 ~ "/containerd-shim-runc-v2$" && / -id orphan / { print $1 }')
check 'shim killed' kill -KILL $shim
gone() { ! ctr task ls | grep -q '^orphan .*RUNNING'; }
check 'shim killed: the container has ended' eventually gone
remove orphan
left_nothing 'nothing is left of it' /run/containerd/runc/box $work/containerd.state/io.containerd.runtime.v2.task/box

# ---- Windows programs, in an image with Wine

windows() {
	local image=docker.io/library/wine:latest
	"$engines/wineroot.sh" $work/wine >/dev/null || die "wineroot.sh failed"
	windows_programs $work/wine/app
	docker_archive $work/wine.tar $image $work/wine
	ctr image import $work/wine.tar >/dev/null || die "ctr image import failed"
	# The first one makes the template of prefixes, which stays.
	"${run[@]}" $image first 7za.exe i >/dev/null || die "ctr run of a Windows program failed"
	remember

	expect_match 'windows: output' 0 '^7-Zip \(a\) 21\.07 \(x64\)' "${run[@]}" $image w 7za.exe i
	expect_match 'windows: exit code' 2 'ERROR: File not found' "${run[@]}" $image w /app/7za.exe t missing.7z
	expect 'windows: a program of Wine' 57 '' "${run[@]}" $image w 'C:\windows\system32\cmd.exe' /c 'exit 57'
	local exit
	for exit in "${exit_codes[@]}"; do
		expect "windows: exit code ${exit%:*}" "${exit#*:}" '' "${run[@]}" $image w /app/exit.exe "${exit%:*}"
	done
	expect_match 'windows: not found' 1 'exec: "nope.exe": executable file not found in \$PATH' "${run[@]}" $image w nope.exe

	mkdir -p $work/docs
	seq 10000 >$work/docs/numbers.txt
	local drive=(--mount 'type=bind,src='$work'/docs,dst=D:\,options=rbind:rw')
	expect_match 'windows: a folder as a drive' 0 'Everything is Ok' "${run[@]}" "${drive[@]}" $image w 7za.exe a 'D:\out.7z' 'D:\*.txt'
	expect 'windows: what it has written' 0 "$(seq 10000)" "${run[@]}" "${drive[@]}" $image w 7za.exe e -so 'D:\out.7z'

	expect_match 'windows: too little memory, and the program says so' 8 'allocate' \
		"${run[@]}" --memory-limit 67108864 $image wless 7za.exe b 1 -md25
	expect_match 'windows: out of memory: exit code' 137 '' "${run[@]}" --memory-limit 67108864 \
		--annotation io.winbox.memory.commit=off $image woom 7za.exe b 1 -md25
	check 'windows: out of memory: event' eventually event /tasks/oom woom

	check 'windows: detached' "${detached[@]}" $image wstay 7za.exe b 1000 -mmt1
	expect_match 'windows: exec' 0 '^7-Zip' ctr task exec --exec-id e wstay 7za.exe i
	expect 'windows: exec of a Linux program' 0 linux ctr task exec --exec-id e wstay sh -c 'echo linux; sleep 0.2'
	check 'windows: pause' ctr task pause wstay
	check 'windows: paused' state wstay PAUSED
	check 'windows: resume' ctr task resume wstay
	check 'windows: kill' ctr task kill --signal KILL wstay
	check 'windows: killed' eventually state wstay STOPPED
	remove wstay
	check 'windows: detached again' "${detached[@]}" $image wstay 7za.exe b 1000 -mmt1
	check 'windows: SIGTERM' ctr task kill wstay
	check 'windows: terminated' eventually state wstay STOPPED
	remove wstay

	# stops NAME STATUS OUTPUT PROGRAM...: what becomes of a program by ctr task kill, and after three seconds by SIGKILL.
	stops() {
		local name=$1 status=$2 want="waiting${3:+ $3}"
		shift 3
		rm -f $work/stop.log
		ctr run --detach --log-uri file://$work/stop.log "${flags[@]}" $image wstop "$@" && eventually grep -q waiting $work/stop.log
		ctr task kill wstop
		eventually state wstop STOPPED & sleep 3
		[ $status != 137 ] || ctr task kill --signal KILL wstop
		wait $!
		expect_match "$name: exit code" 0 "exit code $status\"?\$" ctr task delete wstop
		equal "$name: output" "$want" "$(tr -s '\r\n' ' ' <$work/stop.log | sed 's/ $//')"
		ctr container delete wstop
	}
	stops 'windows: stop: a console program with a handler' 7 'ctrl-shutdown cleaned up' /app/stop.exe handle
	stops 'windows: stop: a program with a window' 5 WM_CLOSE /app/unsaved.exe close
	stops 'windows: stop: a program that ignores it' 137 ctrl-shutdown /app/stop.exe ignore
	left_nothing 'windows: nothing is left' /run/containerd/runc/box $work/containerd.state/io.containerd.runtime.v2.task/box /var/lib/winbox/containers
}
[ "$RUNTIME_NAME" != winbox ] || windows

[ $failed = 0 ] || { echo "--- containerd's log"; grep -E 'level=(warn|error|fatal)' $work/containerd.log | tail -n 30; }
finish
