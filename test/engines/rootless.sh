#!/bin/bash
# rootless.sh: Linux containers under podman as an ordinary user, who has just been made and has subordinate ids.
. "$(dirname "$(realpath "$0")")/lib.sh"

# The sandbox's /etc is an overlay: the host's users stay as they are.
useradd --create-home --home-dir $work/someone --shell /bin/bash someone || die "useradd failed"
uid=$(id -u someone)
echo "someone:200000:65536" | tee /etc/subuid >/etc/subgid
install -d -m 700 -o someone -g someone /run/user /run/user/$uid
chmod 755 /run/user
# The user's network needs this device, which may be root's alone here.
mknod -m 666 $work/tun c 10 200
mount --bind $work/tun /dev/net/tun

dir=$work/someone
containers_config $dir
chown -R someone: $dir
# The user's commands: as after a log-in, but with the configuration of the test.
mkdir $work/commands
for command in podman buildah winbox runc crun bash; do
	case $command in winbox) path=$RUNTIME ;; *) path=$(command -v $command) ;; esac
	cat >$work/commands/$command <<-END
		#!/bin/sh
		cd $dir && exec setpriv --reuid someone --regid someone --init-groups --bounding-set +all --inh-caps -all env -i \
			HOME=$dir USER=someone PATH=$PATH TERM=xterm LC_ALL=C.UTF-8 XDG_RUNTIME_DIR=/run/user/$uid \
			CONTAINERS_CONF=$CONTAINERS_CONF CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF $path "\$@"
	END
	chmod 755 $work/commands/$command
done
PATH=$work/commands:$PATH
runtime=$RUNTIME_NAME

image=localhost/box
import_busybox $image
podman run --rm $image true || die "podman run failed"
remember

expect 'the test is rootless' 0 'true cgroupfs' podman info --format '{{.Host.Security.Rootless}} {{.Host.CgroupManager}}'
expect 'it is the runtime under test' 0 "$RUNTIME" podman info --format '{{.Host.OCIRuntime.Path}}'

# ---- run

run box $image sh -c 'echo out; echo err >&2; exit 42'
equal 'run: output, errors, exit code' '42,out,err' "$code,$out,$err"
expect_match 'command not in PATH' 127 'nope.*: executable file not found in \$PATH: OCI runtime attempted to invoke a command that was not found' box $image nope
expect_match 'command not executable' 126 'permission denied: OCI permission denied' box $image /bin/noexec
expect_match '--runtime by path' 0 '^by path$' podman --runtime "$RUNTIME" run --rm --network none $image echo by path
expect_match 'run -it: size, resize, exit code' 5 '^/dev/pts/0' \
	pty size:30x100 'expect:# ' 'send:stty size; tty\n' 'expect:30 100' 'expect:# ' size:41x121 'send:sleep 1; stty size\n' 'expect:41 121' 'send:exit 5\n' \
	-- podman run --rm -it --network none $image sh
expect 'ids: root is the user, the others are subordinate' 0 "0 $uid 1 1 200000 65536" box $image sh -c 'echo $(cat /proc/self/uid_map)'
expect '--user' 0 'uid=1000(user) gid=1000(user) groups=50(staff),1000(user)' box --user user $image id
expect '--userns keep-id' 0 "$uid $uid" box --userns keep-id $image sh -c 'touch /tmp/x; echo $(id -u) $(stat -c %u /tmp/x)'
expect '--userns keep-id, as root' 0 0 box --userns keep-id --user 0 $image id -u
expect '--uidmap' 0 '0 1 1000' box --uidmap 0:1:1000 $image sh -c 'echo $(cat /proc/self/uid_map)'
expect '--userns nomap' 0 "$uid" box --userns nomap --user $uid $image id -u
expect 'supplementary groups can be set' 0 'uid=7(7) gid=8(8) groups=8(8),9' box --user 7:8 --group-add 9 $image id
expect 'capabilities' 0 'CapEff: 00000000a80425fb' box $image sh -c 'echo $(grep CapEff /proc/self/status)'
expect '--cap-drop all' 0 'CapBnd: 0000000000000000' box --cap-drop all $image sh -c 'echo $(grep CapBnd /proc/self/status)'
expect '--privileged' 0 fuse box --privileged $image sh -c 'ls /dev | grep fuse'
expect 'seccomp: default profile' 0 'Seccomp: 2' box $image sh -c 'echo $(grep Seccomp: /proc/self/status)'
expect '--read-only, --tmpfs' 0 'ro tmpfs' box --read-only --tmpfs /t $image sh -c 'echo $(touch /x 2>/dev/null || echo ro) $(stat -f -c %T /t)'
expect '--init' 0 podman-init box --init $image sh -c 'basename $(tr "\0" " " </proc/1/cmdline | cut -d" " -f1)'
expect '--sysctl, --hostname' 0 '77 box1' box --sysctl kernel.shmmni=77 --hostname box1 $image sh -c 'echo $(cat /proc/sys/kernel/shmmni) $(hostname)'
expect '--ulimit' 0 1234 box --ulimit nofile=1234:1234 --ulimit nproc=77:77 $image sh -c 'ulimit -n'
expect '--pid host' 0 same box --pid host $image sh -c '[ "$(ls -d /proc/[0-9]* | wc -l)" -gt 3 ] && echo same'
expect 'default network' 0 tap0 podman run --rm $image sh -c 'ls /sys/class/net | grep -v lo'
expect '--network host' 0 "$(ls /sys/class/net | xargs)" podman run --rm --network host $image sh -c 'echo $(ls /sys/class/net)'

# ---- Volumes

mkdir $dir/volume
echo shared >$dir/volume/f
chown -R someone: $dir/volume
expect '-v' 0 'shared 0' box -v $dir/volume:/data $image sh -c 'touch /data/new; echo $(cat /data/f) $(stat -c %u /data/f)'
equal '-v: what is made belongs to the user' "$uid" "$(stat -c %u $dir/volume/new)"
expect '-v: files of another user of the container' 0 '' box -v $dir/volume:/data $image chown 1000:1000 /data/new
equal 'they belong to a subordinate id' 200999 "$(stat -c %u $dir/volume/new)"
expect_match '-v ro' 1 'Read-only file system' box -v $dir/volume:/data:ro $image touch /data/x
expect '-v Z' 0 shared box -v $dir/volume:/data:Z $image cat /data/f
expect '-v with --userns keep-id' 0 "$uid" box --userns keep-id -v $dir/volume:/data $image stat -c %u /data/f
expect_match '-v of a root-only folder of the host' 1 'Permission denied' box -v /root:/data $image ls /data
expect '-v named' 0 kept sh -c "podman run --rm --network none -v vol:/v $image sh -c 'echo kept >/v/f' && podman run --rm --network none -v vol:/v $image cat /v/f"
podman volume rm vol >/dev/null

# ---- Life

start c -e A=1 $image sh -c 'trap "exit 7" TERM; echo started; while :; do sleep 0.1; done'
expect 'exec: output, variables' 0 '1 /tmp' podman exec -w /tmp c sh -c 'echo $A $PWD'
expect 'exec: exit code' 43 '' podman exec c sh -c 'exit 43'
expect 'exec --user' 0 1000 podman exec --user user c id -u
expect 'exec: namespaces' 0 '' podman exec c sh -c 'for n in cgroup ipc mnt net pid user uts; do [ "$(readlink /proc/1/ns/$n)" = "$(readlink /proc/self/ns/$n)" ] || echo $n; done'
expect_match 'exec: not in PATH' 127 'executable file not found in \$PATH' podman exec c nope
expect_match 'exec -it: size, exit code' 6 '^/dev/pts/[0-9]' \
	pty size:31x101 'expect:# ' 'send:stty size; tty\n' 'expect:31 101' 'expect:# ' 'send:exit 6\n' -- podman exec -it c sh
expect_match 'top' 0 '^1 +root +sh' podman top c pid user comm
echo 'into it' >$dir/file
check 'cp' podman cp $dir/file c:/tmp/in
expect 'it has arrived' 0 'into it' podman exec c cat /tmp/in
expect_match 'logs' 0 '^started$' podman logs c
check 'stop' podman stop -t 50 c
expect 'stop: SIGTERM was handled, within the grace period' 0 'exited 7' inspect c '{{.State.Status}} {{.State.ExitCode}}'
check 'start again' podman start c
check 'kill' podman kill c
expect 'wait: exit code of a killed container' 0 137 podman wait c
remove c
start crashing --restart on-failure:1 $image sh -c 'echo run; exit 3'
twice() { [ "$(inspect crashing '{{.RestartCount}} {{.State.Status}}')" = '1 exited' ]; }
check 'restart after a crash' eventually twice
remove crashing
podman pod create --name pod --share net,ipc,uts,pid >/dev/null || fail 'pod create' 'podman pod create failed'
for c in one two; do
	podman run -d --pod pod --name $c $image sleep 1000 >/dev/null || fail "run in a pod: $c" 'podman run failed'
done
expect 'pod: one pid, network and user namespace' 0 '2' podman exec one sh -c 'ps -o args | grep -c "^sleep 1000"'
remove_pods

# ---- buildah

mkdir $dir/context
printf 'FROM %s\nRUN id -u >/id; chown 1000:1000 /id\nUSER user\nRUN id -u >>/id\n' $image >$dir/context/Containerfile
chown -R someone: $dir/context
check 'buildah bud' buildah bud --runtime "$RUNTIME" --isolation oci --network host -q -t built $dir/context
expect 'what it has built' 0 $'0\n1000' box --pull never localhost/built cat /id
printf 'FROM %s\nRUN exit 3\n' $image >$dir/context/Containerfile
expect_match 'buildah bud: a failing RUN' 3 'exit status 3' buildah bud --runtime "$RUNTIME" --isolation oci --network host -q $dir/context

# ---- Windows programs

windows() {
	"$engines/wineroot.sh" $work/wine >/dev/null || die "wineroot.sh failed"
	tar -C $work/wine -c . | podman import -q -c ENV=PATH=/usr/bin:/app - wine >/dev/null || die "podman import failed"
	local image=localhost/wine
	# The first one makes the user's own template of prefixes.
	expect_match 'windows: output' 0 '^7-Zip \(a\) 21\.07 \(x64\)' box $image 7za.exe i
	expect_match 'windows: exit code' 2 'ERROR: File not found' box $image 7za.exe t missing.7z
	expect_match 'windows: --userns keep-id' 0 '^7-Zip' box --userns keep-id $image 7za.exe i
	expect_match 'windows: --user' 0 '^7-Zip' box --user user $image 7za.exe i
	expect_match 'windows: a folder as a drive' 0 'Everything is Ok' box --mount "type=bind,src=$dir/volume,dst=/D:\\" $image 7za.exe a 'D:\out.7z' 'D:\f'
	equal 'windows: what it has written is the user'"'"'s' "$uid" "$(stat -c %u $dir/volume/out.7z)"
	start w $image 7za.exe b 1000 -mmt1
	expect_match 'windows: exec' 0 '^7-Zip' podman exec w 7za.exe i
	check 'windows: stop' podman stop -t 50 w
	# Its handler returns; whether it or the program itself is faster is a matter of chance.
	expect_match 'windows: stop: within the grace period' 0 'exited (130|255)' inspect w '{{.State.Status}} {{.State.ExitCode}}'
	remove w
}
[ "$RUNTIME_NAME" != winbox ] || windows

# ---- Many, and what is left

parallel=()
for i in 1 2 3 4 5; do
	box $image sh -c "sleep 0.$i; echo $i; exit $i" >$work/parallel.$i 2>&1 &
	parallel+=($!)
done
wrong=
for i in 1 2 3 4 5; do
	code=0
	wait ${parallel[i - 1]} || code=$?
	[ "$code $(cat $work/parallel.$i)" = "$i $i" ] || wrong+="$i: $code $(cat $work/parallel.$i) "
done
equal '5 in parallel' '' "$wrong"
# Without its namespace there is no more to be seen of the user's containers.
expect 'no container is known to the runtime' 0 '' podman unshare "$RUNTIME" list -q
left_nothing 'nothing is left' /run/user/$uid/$RUNTIME_NAME /run/$RUNTIME_NAME $dir/.local/share/winbox/containers
finish
