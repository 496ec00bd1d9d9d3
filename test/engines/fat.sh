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
# layers NAME: the digests, the runtime's first.
layers() { winbox image inspect "$1" | "$PYTHON" -c 'import json, sys; print("\n".join(l["digest"] for l in json.load(sys.stdin)[0]["layers"]))'; }
equal 'they share the layer of the runtime' 1 "$(for i in seven programs base; do layers $i | head -n 1; done | sort -u | wc -l)"
check 'runtime rm' winbox runtime rm small # nothing of it is needed from here on

# ---- podman, with runc and with crun

containers_config
for image in seven programs base; do
	check "save $image" winbox image save $image -o $work/archives/$image --format docker-archive
	podman load -q -i $work/archives/$image >/dev/null || die "podman load $image failed"
done
for runtime in runc crun; do
	box() { timeout -k 5 $LIMIT podman --runtime $runtime run --rm --network none "$@"; }
	[ $runtime = runc ] || [ ! -d /sys/fs/cgroup/unified ] || umount /sys/fs/cgroup/unified # it does not run where both versions are
	expect_match "podman, $runtime: output" 0 '^7-Zip \(a\) 21\.07 \(x64\)' box seven i
	expect_match "podman, $runtime: exit code 2" 2 'ERROR: File not found' box seven t missing.7z
	for exit in "${exit_codes[@]}"; do
		expect "podman, $runtime: exit code ${exit%:*}" "${exit#*:}" '' box programs "${exit%:*}"
	done
done
finish
