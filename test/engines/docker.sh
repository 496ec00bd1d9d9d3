#!/bin/bash
# docker.sh: Linux containers under dockerd, which starts a containerd of its own.
# Another docker may be in /usr/local; the tests are about the distribution's.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
. "$(dirname "$(realpath "$0")")/lib.sh"

# ---- The daemon, and an image

export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=0
echo '{}' >$work/daemon.json
# Docker's own network needs a bridge, which the sandbox's network namespace has room for. Its runtime is a path:
# --add-runtime takes no arguments for it here.
# Its BuildKit takes whatever is called runc.
mkdir $work/path
cat >$work/path/runc <<-END
	#!/bin/sh
	echo "\$*" >>$work/buildkit.calls
	exec $RUNTIME "\$@"
END
chmod 755 $work/path/runc
start_dockerd() {
	PATH=$work/path:$PATH dockerd --config-file $work/daemon.json --host $DOCKER_HOST --pidfile $work/docker.pid \
		--data-root $work/docker --exec-root $work/docker.exec --storage-driver overlay2 \
		--add-runtime box="$RUNTIME" --default-runtime box --init-path /usr/bin/tini-static \
		--exec-opt native.cgroupdriver=cgroupfs --default-ulimit nofile=20000:20000 \
		--iptables=false --ip-masq=false --live-restore </dev/null >>$work/docker.log 2>&1 &
	daemon=$!
	eventually docker version || die "dockerd does not start: $(grep -v level=info $work/docker.log | tail -n 3)"
}

states=($work/docker.exec/runtime-runc/moby $work/docker.exec/containerd/daemon/io.containerd.runtime.v2.task/moby)
start_dockerd
busybox_root $work/root
tar -C $work/root -c . | docker import --change 'ENV PATH=/bin' --change 'CMD ["/bin/sh"]' - box >/dev/null || die "docker import failed"
run=(docker run --rm)
"${run[@]}" box true || die "docker run failed: $(tail -n 3 $work/docker.log)"
# Made once: the control groups' parents, and a place for the host's network.
"${run[@]}" --network host box true || die "docker run failed: $(tail -n 3 $work/docker.log)"
printf 'FROM box\nRUN true\n' | DOCKER_BUILDKIT=1 docker build - >/dev/null 2>&1 || die "docker build failed: $(tail -n 3 $work/docker.log)"
remember

# inspect NAME FIELD: what docker tells of a container; is NAME FIELD WANT: whether it is that.
inspect() { docker inspect --format "{{$2}}" "$1"; }
is() { [ "$(inspect "$1" "$2")" = "$3" ]; }
refused() { "$@" >/dev/null 2>&1 && echo allowed || echo refused; }

# ---- run

expect 'the runtime is known' 0 "box $RUNTIME" sh -c "docker info --format '{{.DefaultRuntime}} {{(index .Runtimes \"box\").Path}}'"
expect 'run: output' 0 hello "${run[@]}" box echo hello
expect 'run: standard error' 0 '' "${run[@]}" box sh -c 'echo oops >&2'
equal 'run: what went to standard error' oops "$err"
expect 'run: standard input' 0 3 sh -c 'printf "a\nb\nc\n" | docker run --rm -i box wc -l'
expect 'exit code 42' 42 '' "${run[@]}" box sh -c 'exit 42'
expect 'exit code 143 of a child killed' 143 '' "${run[@]}" box sh -c 'sh -c "kill -TERM \$\$"; exit $?'
expect_match 'not found: 127' 127 'exec: "nope": executable file not found in \$PATH' "${run[@]}" box nope
expect_match 'not found by path: 127' 127 'exec: "/nope": stat /nope: no such file or directory' "${run[@]}" box /nope
expect_match 'not executable: 126' 126 'exec: "/bin/noexec": permission denied' "${run[@]}" box /bin/noexec
expect_match 'a directory: 126' 126 'exec: "/etc": .*permission denied' "${run[@]}" box /etc
expect_match 'file over directory' 125 'Are you trying to mount a directory onto a file' "${run[@]}" -v /etc/passwd:/tmp box true
left_nothing 'nothing is left of failed creations' "${states[@]}"

expect 'environment' 0 $'/root\n/bin\n1 2\n/srv/new' "${run[@]}" -e 'A=1 2' -w /srv/new box sh -c 'echo $HOME; echo $PATH; echo $A; pwd'
expect 'user' 0 '1000 1000 50 1000 /home/user' "${run[@]}" --user user box sh -c 'echo $(id -u) $(id -g) $(id -G | tr " " "\n" | sort -nu | tr "\n" " ") $HOME'
expect 'user by number' 0 '77:88:88 99 /' "${run[@]}" --user 77:88 --group-add 99 box sh -c 'echo $(id -u):$(id -g):$(id -G) $HOME'
expect 'host name' 0 $'name\n10.9.8.7' "${run[@]}" --hostname name --add-host other:10.9.8.7 box sh -c 'hostname; awk "/other/ { print \$1 }" /etc/hosts'
expect 'capabilities' 0 'CapPrm: 00000000a80425fb' "${run[@]}" box sh -c 'echo $(grep CapPrm /proc/self/status)'
expect 'capabilities: one' 0 'CapPrm: 0000000000002000' "${run[@]}" --cap-drop all --cap-add net_raw box sh -c 'echo $(grep CapPrm /proc/self/status)'
expect 'seccomp' 0 $'Seccomp: 2\nrefused' "${run[@]}" box sh -c 'echo $(grep -w Seccomp: /proc/self/status); unshare -U true 2>/dev/null || echo refused'
expect 'seccomp: unconfined' 0 $'Seccomp: 0\nallowed' "${run[@]}" --security-opt seccomp=unconfined box \
	sh -c 'echo $(grep -w Seccomp: /proc/self/status); unshare -U true && echo allowed'
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18}]}' >$work/profile.json
expect_match 'seccomp: own profile' 1 'Cross-device link|Invalid cross-device link' "${run[@]}" --security-opt seccomp=$work/profile.json box mkdir /tmp/x
expect 'no new privileges' 0 'NoNewPrivs: 1' "${run[@]}" --security-opt no-new-privileges box sh -c 'echo $(grep NoNewPrivs /proc/self/status)'
expect 'new privileges' 0 'NoNewPrivs: 0' "${run[@]}" box sh -c 'echo $(grep NoNewPrivs /proc/self/status)'
expect 'read-only' 0 $'refused\nallowed' "${run[@]}" --read-only --tmpfs /scratch box sh -c 'touch /x 2>/dev/null || echo refused; touch /scratch/x && echo allowed'
expect 'tmpfs: mode' 0 'drwxr-xr-x drwxrwxrwt' "${run[@]}" --tmpfs /scratch --tmpfs /home/user box sh -c 'echo $(ls -ld /scratch /home/user | cut -c 1-10)'
expect 'tmpfs' 0 'tmpfs 512 noexec' "${run[@]}" --tmpfs /scratch:size=512k,mode=1770,noexec box \
	sh -c 'echo $(df /scratch | awk "NR == 2 { print \$1, \$2 }") $(grep -o " /scratch .*noexec" /proc/mounts | grep -o noexec)'
mkdir $work/share
echo shared >$work/share/in
expect 'volume' 0 shared "${run[@]}" -v $work/share:/share box sh -c 'cat /share/in; echo back >/share/out'
equal 'volume: what came back' back "$(cat $work/share/out)"
expect 'volume, read-only' 0 $'shared\nrefused' "${run[@]}" -v $work/share:/share:ro box sh -c 'cat /share/in; touch /share/new 2>/dev/null || echo refused'
check 'named volume' "${run[@]}" -v kept:/kept box sh -c 'echo kept >/kept/file'
expect 'named volume: kept' 0 kept "${run[@]}" --mount type=volume,src=kept,dst=/elsewhere box cat /elsewhere/file
check 'named volume: removed' docker volume rm kept
expect 'devices' 0 $'crw-r--r--\nrefused' "${run[@]}" --device /dev/kmsg:/dev/nothing:r box \
	sh -c 'ls -l /dev/nothing | cut -c 1-10; (: >/dev/nothing) 2>/dev/null || echo refused'
expect 'device not allowed' 0 refused "${run[@]}" box sh -c 'mknod /dev/kmsg c 1 11; (: </dev/kmsg) 2>/dev/null || echo refused'
expect 'sysctl' 0 1 "${run[@]}" --sysctl net.ipv4.ip_forward=1 box cat /proc/sys/net/ipv4/ip_forward
expect 'limits' 0 $'100\n500\n33\n50000\n1\n33554432\n16777216\n1024' \
	"${run[@]}" --ulimit nofile=100:200 --oom-score-adj 500 --pids-limit 33 --cpus 0.5 --cpuset-cpus 1 --memory 32m --memory-reservation 16m --shm-size 1m box sh -c '
		ulimit -n
		cat /proc/self/oom_score_adj
		cd /sys/fs/cgroup
		cat pids/pids.max cpu/cpu.cfs_quota_us cpuset/cpuset.cpus memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes
		df /dev/shm | awk "NR == 2 { print \$2 }"'
expect_match 'pids limit' 2 'Resource temporarily unavailable' "${run[@]}" --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; exit 0'
expect 'init' 0 'docker-init 3' "${run[@]}" --init box sh -c 'sh -c "exit 3"; echo $(cat /proc/1/comm) $?'
expect 'init: signal' 143 '' "${run[@]}" --init box sh -c 'kill -TERM $$'
expect 'network: a device and a route' 0 $'eth0\nlo\n1' "${run[@]}" box sh -c 'ls /sys/class/net; ip route | grep -c default'
expect 'network: none' 0 lo "${run[@]}" --network none box ls /sys/class/net
expect 'network: host' 0 "$(hostname)" "${run[@]}" --network host --uts host box hostname
expect 'pid namespace of the host' 0 "$(readlink /proc/self/ns/pid)" "${run[@]}" --pid host box readlink /proc/self/ns/pid
expect 'cgroup namespace' 0 '/' "${run[@]}" --cgroupns private box sh -c 'sed -n "s/.*:memory://p" /proc/self/cgroup'

# ---- Terminals

# The engine passes a new size on when it gets to it.
follow='until [ "$(stty size)" = "20 50" ]; do sleep 0.02; done; stty size; while [ "$(stty size)" = "20 50" ]; do sleep 0.02; done; stty size'

run pty size:20x50 'expect:20 50' size:44x133 'expect:44 133' -- \
	docker run --rm -it box sh -c "tty; $follow; exit 5"
equal 'terminal: exit code after resize' 5 "$code"
equal 'terminal: name' /dev/pts/0 "$(tr -d '\r' <<<"$out" | head -n 1)"
run pty 'expect:ready' send:'\x03' -- docker run --rm -it box sh -c 'trap "echo interrupted; exit 6" INT; echo ready; while :; do sleep 0.1; done'
equal 'terminal: Ctrl-C' 6 "$code"

# ---- A container that stays

check 'detached' docker run -d --name stay --memory 128m --label a=b box sh -c 'echo begun; i=0; while :; do i=$((i + 1)); echo $i >/tmp/count; sleep 0.02; done'
check 'running' is stay .State.Status running
expect 'exec: output' 0 'uid=0(root) gid=0(root) groups=0(root) /root' docker exec stay sh -c 'echo $(id) $HOME'
expect 'exec: standard input' 0 3 sh -c 'printf "a\nb\nc\n" | docker exec -i stay wc -l'
expect 'exec: exit code' 9 '' docker exec stay sh -c 'exit 9'
expect 'exec: user, directory, variable' 0 $'1000 1000 50 /home/user\n/tmp\n1 2' docker exec --user user -w /tmp -e 'A=1 2' stay sh -c 'echo $(id -u) $(id -G) $HOME; pwd; echo $A'
expect_match 'exec: not found' 126 'exec failed: .*exec: "nope": executable file not found in \$PATH' docker exec stay nope
expect_match 'exec: not executable' 126 'exec: "/bin/noexec": permission denied' docker exec stay /bin/noexec
expect_match 'exec: no such directory' 126 '/nowhere.*no such file or directory' docker exec -w /nowhere stay true
expect 'exec: privileged' 0 'CapEff: 00000000a80425fb' docker exec stay sh -c 'echo $(grep CapEff /proc/self/status)'
check 'exec: detached' docker exec -d stay touch /tmp/detached
check 'exec: detached, done' eventually docker exec stay test -e /tmp/detached
run pty size:20x50 'expect:20 50' size:21x51 'expect:21 51' -- docker exec -it stay sh -c "$follow; exit 3"
equal 'exec: terminal' 3 "$code"
expect_match 'top' 0 '^root +[0-9]+ .*begun' docker top stay
expect_match 'top: options of ps' 0 '^ *[0-9]+ +sh' docker top stay -o pid,comm
expect_match 'stats' 0 '^stay [0-9.]+[KM]iB / 128MiB [1-9][0-9]*$' docker stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' stay
expect 'logs' 0 begun docker logs stay
echo copied >$work/copied
check 'cp into' docker cp $work/copied stay:/srv
expect 'cp out of' 0 copied sh -c "docker cp stay:/srv - | tar -xO"

count() { docker cp stay:/tmp/count - | tar -xO; }
advanced() { [ "$(count)" != "$count" ]; }
check 'pause' docker pause stay
check 'paused' is stay .State.Status paused
count=$(count)
sleep 0.3
equal 'paused: nothing goes on' "$count" "$(count)"
expect_match 'exec in a paused container' 1 'is paused' docker exec stay true
check 'unpause' docker unpause stay
check 'unpaused: it goes on' eventually advanced

check 'update' docker update --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 77 --cpuset-cpus 0 stay
expect 'updated' 0 $'67108864\n50000\n77\n0' docker exec stay sh -c 'cd /sys/fs/cgroup && cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max cpuset/cpuset.cpus'
expect_match 'update: refused' 1 'Minimum memory limit|memory' docker update --memory 1 stay

# The daemon's end is not that of its containers (--live-restore).
kill -KILL $daemon
wait $daemon 2>/dev/null
start_dockerd
check 'daemon restarted: running' is stay .State.Status running
expect 'daemon restarted: exec' 0 here docker exec stay echo here
check 'kill' docker kill stay
expect 'exit code after kill' 0 137 docker wait stay
check 'start again' docker start stay
check 'started again' is stay .State.Status running
check 'restart' docker restart -t 0 stay
check 'forced removal' docker rm -f stay

docker run -d --name term box sh -c 'trap "echo got it; exit 4" TERM; while :; do sleep 0.02; done' >/dev/null
eventually docker exec term true
check 'stop' docker stop term
check 'stopped by itself: exit code' is term .State.ExitCode 4
expect 'stopped by itself: output' 0 'got it' docker logs term
docker rm term >/dev/null
docker run -d --name ignore box sleep 1000 >/dev/null
check 'stop after the grace period' docker stop -t 1 ignore
check 'stopped after the grace period: exit code' is ignore .State.ExitCode 137
docker rm ignore >/dev/null
docker run -d --name signal --stop-signal USR1 box sh -c 'trap "exit 8" USR1; trap "exit 9" HUP; while :; do sleep 0.02; done' >/dev/null
eventually docker exec signal true
check 'kill by name' docker kill -s HUP signal
expect 'kill by name: exit code' 0 9 docker wait signal
docker start signal >/dev/null && eventually docker exec signal true
docker stop signal >/dev/null
check 'stop signal: exit code' is signal .State.ExitCode 8
docker rm signal >/dev/null

# ---- What the daemon does by itself

docker run -d --name health --health-cmd 'test -e /tmp/ok' --health-interval 200ms --health-retries 2 box sleep 1000 >/dev/null
check 'health: unhealthy' eventually is health .State.Health.Status unhealthy
docker exec health touch /tmp/ok
check 'health: healthy' eventually is health .State.Health.Status healthy
docker rm -f health >/dev/null

docker run -d --name again --restart on-failure:2 box sh -c 'echo run; exit 3' >/dev/null
check 'restart on failure' eventually is again '.RestartCount}} {{.State.Status' '2 exited'
check 'restart on failure: exit code' is again .State.ExitCode 3
expect 'restart on failure: output' 0 $'run\nrun\nrun' docker logs again
docker rm -f again >/dev/null

# The shim begins to watch the container when it has been started.
expect 'out of memory: exit code' 137 '' docker run --name oom --memory 16m box sh -c 'sleep 1; exec tail /dev/zero'
check 'out of memory: reported' eventually is oom .State.OOMKilled true
docker rm oom >/dev/null

docker run -d --name donor --ipc shareable --hostname donor box sleep 1000 >/dev/null
expect 'joined namespaces' 0 $'donor\nsleep 1000' "${run[@]}" --network container:donor --ipc container:donor --pid container:donor box \
	sh -c 'hostname; tr "\0" " " </proc/1/cmdline | sed "s/ $//"'
docker rm -f donor >/dev/null

mkdir $work/build
echo contents >$work/build/file
cat >$work/build/Dockerfile <<-END
	FROM box
	ENV A=1
	WORKDIR /srv/deep
	COPY file .
	RUN cat file && pwd >out && echo \$HOME >>out
	USER user
	RUN id -un >/tmp/user
	CMD ["cat", "/srv/deep/out", "/tmp/user"]
END
check 'build' docker build --no-cache --force-rm -t built $work/build
expect 'built: run' 0 $'/srv/deep\n/root\nuser' "${run[@]}" built
echo 'RUN exit 5' >>$work/build/Dockerfile
expect_match 'build: exit code' 5 'returned a non-zero code: 5' docker build --force-rm $work/build

export DOCKER_BUILDKIT=1
sed -i '$d' $work/build/Dockerfile
check 'BuildKit: build' docker build -t built $work/build
expect_match 'BuildKit: the runtime was called' 0 '^--log .*/runc-log.json --log-format json run .*--bundle ' cat $work/buildkit.calls
expect 'BuildKit: built: run' 0 $'/srv/deep\n/root\nuser' "${run[@]}" built
echo 'RUN --mount=type=tmpfs,target=/scratch touch /scratch/file && exit 5' >>$work/build/Dockerfile
expect_match 'BuildKit: exit code' 1 'exit code: 5' docker build $work/build
sed -i '$d' $work/build/Dockerfile && echo 'RUN ["nope"]' >>$work/build/Dockerfile
expect_match 'BuildKit: not found' 1 'exec: "nope": executable file not found in \$PATH' docker build $work/build
export DOCKER_BUILDKIT=0

many() {
	local i jobs=()
	for i in $(seq 20); do
		"${run[@]}" box sh -c "echo $i; exit $i" >$work/many$i 2>&1 &
		jobs+=($!)
	done
	for i in $(seq 20); do
		wait ${jobs[$((i - 1))]}
		[ "$? $(cat $work/many$i)" = "$i $i" ] || { echo "$i: exit code and output: $(cat $work/many$i)"; return 1; }
	done
}
check '20 in parallel' many

# Under Docker's own seccomp profile.
windows() {
	"$engines/wineroot.sh" $work/wine >/dev/null || die "wineroot.sh failed"
	tar -C $work/wine -c . | docker import - wine >/dev/null || die "docker import failed"
	rm -r $work/wine
	"${run[@]}" wine 7za.exe i >/dev/null || die "docker run of a Windows program failed"
	remember
	expect_match 'windows: output' 0 '^7-Zip \(a\) 21\.07 \(x64\)' "${run[@]}" wine 7za.exe i
	expect_match 'windows: exit code' 2 'ERROR: File not found' "${run[@]}" wine /app/7za.exe t missing.7z
	expect 'windows: a volume as a drive' 0 shared "${run[@]}" --user user --mount "type=bind,src=$work/share,dst=/E:\\,readonly" wine 'C:\windows\system32\cmd.exe' /c 'type E:\in'
	expect_match 'windows: too little memory, and the program says so' 8 'allocate' \
		"${run[@]}" --memory 64m wine 7za.exe b 1 -md25
	docker run -d --name wstay wine 7za.exe b 1000 -mmt1 >/dev/null
	expect_match 'windows: exec' 0 '^7-Zip' docker exec wstay 7za.exe i
	check 'windows: stop' docker stop -t 20 wstay
	# Its handler returns; whether it or the program itself is faster is a matter of chance.
	expect_match 'windows: not killed' 0 '^(130|255)$' docker inspect --format '{{.State.ExitCode}}' wstay
	docker rm wstay >/dev/null
	left_nothing 'windows: nothing is left' /var/lib/winbox/containers
}
[ "$RUNTIME_NAME" != winbox ] || windows

events() { docker events --since 0 --until "$(date +%s)" --filter container=oom --format '{{.Action}}' | sort -u | tr '\n' ' '; }
expect 'events' 0 'attach create destroy die oom start ' events
expect 'no container is left' 0 '' docker ps -aq
kill $daemon
wait $daemon
left_nothing 'nothing is left' "${states[@]}"

[ $failed = 0 ] || { echo "--- docker's log"; grep -E 'level=(warn|error|fatal)' $work/docker.log | tail -n 30; }
finish
