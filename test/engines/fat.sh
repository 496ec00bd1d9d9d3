#!/bin/bash
# fat.sh: images that bring Wine along, under runc and crun, podman with each of them, and docker with its own runtime; and
# images that podman and docker build on such a one.
# Another docker may be in /usr/local; the tests are about the distribution's.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
. "$(dirname "$(realpath "$0")")/lib.sh"
[ "$RUNTIME_NAME" = winbox ] || die "only winbox packs images"

install -m 755 "$top/build/winbox-images" $work/bin/
export WINBOX_DATA=/var/lib/winbox
winbox() { timeout -k 5 $LIMIT $RUNTIME "$@"; }

# ---- The images, of a runtime that is made of the Wine that is installed here

mkdir -p $work/root/usr && mount --bind /usr $work/root/usr && ln -s usr/lib usr/lib64 $work/root/ || die "no root file system"
check 'runtime build' winbox runtime build small --wow64 none --from $work/root
[ $failed = 0 ] || finish
mkdir $work/app $work/archives
windows_programs $work/app
install -m 644 "$top/build/7zip-bin/win/x64/7za.exe" $work/app/
pack() { winbox image pack --compression zstd "$@"; }
check 'pack 7za' pack --with-runtime -t seven "$work/app/7za.exe"
check 'pack programs' pack --with-runtime -t programs "$work/app" --entrypoint exit.exe
check 'pack a base' pack --with-runtime -t base
equal 'they share the layer of the runtime' 1 "$(winbox image inspect seven programs base |
	"$PYTHON" -c 'import json, sys; print(len({i["layers"][0]["digest"] for i in json.load(sys.stdin)}))')"
# What the Dockerfile at the top installs of Debian.
cp -a $WINBOX_DATA/runtimes/small/root $work/stage && mkdir -p $work/stage/usr/lib64 && mkdir -m 1777 $work/stage/tmp && ln -s usr/lib usr/lib64 $work/stage/ &&
	ln -s ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 $work/stage/usr/lib64/ || die "no root file system"
check 'runtime rm' winbox runtime rm small # nothing of it is needed from here on

# ---- podman, with runc and with crun

containers_config
for image in seven programs base; do
	check "save $image" winbox image save $image -o $work/archives/$image --format docker-archive
	podman load -q -i $work/archives/$image >/dev/null || die "podman load $image failed"
done
tar -C $work/stage -c . | podman import -q - stage >/dev/null || die "podman import failed"
for runtime in runc crun; do
	box() { timeout -k 5 $LIMIT podman --runtime $runtime run --rm --network none "$@"; }
	[ $runtime = runc ] || [ ! -d /sys/fs/cgroup/unified ] || umount /sys/fs/cgroup/unified # it does not run where both versions are
	expect_match "podman, $runtime: output" 0 '^7-Zip \(a\) 21\.07 \(x64\)' box seven i
	expect_match "podman, $runtime: exit code 2" 2 'ERROR: File not found' box seven t missing.7z
	exits=("${exit_codes[@]}")
	[ $runtime = runc ] || exits=(3010:194 0xC0000005:139)
	for exit in "${exits[@]}"; do
		expect "podman, $runtime: exit code ${exit%:*}" "${exit#*:}" '' box programs "${exit%:*}"
	done
done
expect_match 'with winbox on the node' 2 'ERROR: File not found' timeout -k 5 $LIMIT podman run --rm --network none seven t missing.7z
box() { timeout -k 5 $LIMIT podman --runtime runc run --rm --network none "$@"; }
mkdir $work/volume && cp $work/app/7za.exe $work/volume/
expect_match 'a volume, as another user, on a read-only root' 0 'Size: *[1-9]' box --user 1234 --read-only --mount type=bind,source=$work/volume,destination=/e: seven h 'e:\7za.exe'
expect 'podman stop' 7 '' sh -c 'podman --runtime runc run -d --name stopped --network none --entrypoint '\''["winbox", "init", "/app/stop.exe", "handle"]'\'' programs >/dev/null &&
	until podman logs stopped 2>&1 | grep -q waiting; do sleep 0.1; done && podman stop -t 30 stopped >/dev/null; exit $(podman wait stopped)'

# ---- Built on the base, by podman and by docker: with its own entry point, and a program run while it is built

cat >$work/app/Dockerfile <<-'END'
	FROM base
	COPY 7za.exe /app/
	RUN ["winbox", "init", "/app/7za.exe", "a", "/app/own.7z", "/app/7za.exe"]
	RUN ["winbox", "init", "cmd", "/c", "reg add HKCU\\Software\\Mine /v n /d kept /f"]
	ENTRYPOINT ["winbox", "init", "--annotation", "io.winbox.boot=auto", "/app/7za.exe"]
	CMD ["t", "D:\\app\\own.7z"]
END
check 'podman build' podman --runtime runc build --network none -t built $work/app
expect_match 'podman build: what was built runs' 0 'Everything is Ok' box built
expect_match 'podman build: what a step has written to the registry' 0 'n +REG_SZ +kept' box --entrypoint '["winbox", "init", "reg"]' built query 'HKCU\Software\Mine'
# The Dockerfile at the top, with what it fetches from elsewhere in place of its first stages.
mkdir -p $work/build/usr/local/bin
cp $work/bin/winbox $work/bin/winbox-images $work/build/usr/local/bin/
check 'the Dockerfile' podman --runtime runc build --network none --build-context build=$work/build --build-context wine=container-image://localhost/stage \
	--ignorefile /dev/null -t top -f "$top/Dockerfile" "$top"
expect_match 'the Dockerfile: its image' 0 'Microsoft Windows' box top
expect_match 'the Dockerfile: a program' 0 '^7-Zip \(a\) 21\.07 \(x64\)' box -v $work/app:/work top ./7za.exe i

# ---- docker, with the runc that it brings along

export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=0
echo '{}' >$work/daemon.json
dockerd --config-file $work/daemon.json --host $DOCKER_HOST --pidfile $work/docker.pid --data-root $work/docker --exec-root $work/docker.exec \
	--storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --default-ulimit nofile=20000:20000 --bridge=none --iptables=false \
	</dev/null >$work/docker.log 2>&1 &
eventually docker version || die "dockerd does not start: $(grep -v level=info $work/docker.log | tail -n 3)"
for image in programs base; do podman save -q $image | docker load -q >/dev/null && docker tag localhost/$image $image || die "docker load $image failed"; done
for exit in 256:1 3010:194 0xC0000005:139; do
	expect "docker: exit code ${exit%:*}" "${exit#*:}" '' docker run --rm --network none programs "${exit%:*}"
done
expect_match 'docker: output, as another user' 0 'Microsoft Windows' docker run --rm --network none --user 1234 base cmd /c ver
expect_match 'docker: a read-only root' 0 'Microsoft Windows' docker run --rm --network none --read-only --tmpfs /run base cmd /c ver
check 'docker build' docker build -q --network none -t built $work/app
expect_match 'docker build: what was built runs' 0 'Everything is Ok' docker run --rm --network none built
kill $(cat $work/docker.pid) && wait
finish
