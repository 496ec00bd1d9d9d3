#!/bin/bash
# buildah.sh: builds of Linux images with buildah.
. "$(dirname "$(realpath "$0")")/lib.sh"

containers_config
image=localhost/box
import_busybox $image
mkdir $work/context
cd $work/context
printf 'FROM %s\nRUN true\n' $image >Warm
buildah bud --runtime "$RUNTIME" -q -f Warm . >/dev/null || die "buildah bud failed"
podman run --rm --network none $image true || die "podman run failed"
remember

bud() { timeout -k 5 $LIMIT buildah bud --runtime "$RUNTIME" --layers=false "$@"; }
run_built() { timeout -k 5 $LIMIT podman run --rm --pull never --network none localhost/built "$@"; }

# ---- bud

echo 'from the context' >file
cat >Containerfile <<END
FROM $image AS first
ARG NUMBER=1
ENV A=b
WORKDIR /work
COPY file /work/copied
RUN echo "\$A \$NUMBER \$PWD \$(id -u)" >seen; cat copied >>seen
RUN ["/bin/sh", "-c", "echo exec form >>seen"]
USER user
RUN id -un >/tmp/user; ! touch /etc/new 2>/dev/null
USER root
RUN grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status >status
RUN --mount=type=tmpfs,target=/scratch stat -f -c %T /scratch >>seen && touch /scratch/x
RUN --mount=type=cache,target=/cache echo kept >/cache/f
RUN touch -d @0 old; ln -s old link; chown 1000:50 old; chmod 4755 old; mkfifo fifo
FROM $image
COPY --from=first /work /work
COPY --from=first /tmp/user /work/user
CMD ["cat", "/work/seen"]
END
check 'bud' bud -q -t built --build-arg NUMBER=7 .
expect 'its RUN steps have done what they say' 0 $'b 7 /work 0\nfrom the context\nexec form\ntmpfs' run_built
expect 'RUN as a user' 0 user run_built cat /work/user
expect 'RUN: capabilities, seccomp' 0 'CapEff: 00000000a80425fb NoNewPrivs: 0 Seccomp: 2' run_built sh -c 'echo $(cat /work/status)'
expect 'RUN: modes, owners, links' 0 '4755 1000 50 old fifo' run_built sh -c 'cd /work; echo $(stat -c "%a %u %g" old) $(readlink link) $(stat -c %F fifo)'
expect 'nothing of the build is left in the image' 0 'bin dev etc home proc root run sys tmp var work' run_built sh -c 'echo $(ls /)'
# step COMMAND [FLAG...]: a build with this one RUN.
step() {
	printf 'FROM %s\nRUN %s\n' $image "$1" >Step
	bud -t step -f Step "${@:2}" .
}
expect_match 'a failing RUN' 3 'exit status 3' step 'exit 3'
expect_match 'a RUN whose command is not there' 127 'nope: not found' step nope
expect_match 'exec form: not in PATH' 1 'nope.*: executable file not found in \$PATH' step '["nope"]'
expect_match 'exec form: not there' 1 '/nope.*: no such file or directory' step '["/nope"]'
expect_match 'exec form: not executable' 1 '/bin/noexec.*: permission denied' step '["/bin/noexec"]'
expect_match 'output of a failing RUN' 4 '^said on the way$' step 'echo said on the way; exit 4'
expect_match '--memory' 1 'container exited on killed' step 'exec tail /dev/zero' --memory 32m
expect_match '--memory, --cpu-quota, --cpu-shares: seen' 0 '^33554432 50000 300$' \
	step 'cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares)' --memory 32m --cpu-quota 50000 --cpu-shares 300
check '--volume' step 'grep -q "from the context" /mnt/file' -v $work/context:/mnt:ro
check '--add-host' step 'grep -q "10.9.8.7.*other" /etc/hosts' --add-host other:10.9.8.7
check '--cap-add, --cap-drop' step 'grep -q "^CapEff:.*0*2000000$" /proc/self/status' --cap-drop ALL --cap-add SYS_TIME
check '--ulimit' step '[ "$(ulimit -n)" = 1234 ]' --ulimit nofile=1234:1234
check '--security-opt seccomp=unconfined' step 'grep -q "^Seccomp:.*0$" /proc/self/status' --security-opt seccomp=unconfined
check '--userns-uid-map' step '[ "$(cat /proc/self/uid_map | tr -s " ")" = " 0 100000 5000" ]' --userns-uid-map 0:100000:5000 --userns-gid-map 0:100000:5000
check '--isolation chroot beside it' step true --isolation chroot

# ---- run

container=$(buildah from $image)
brun() { timeout -k 5 $LIMIT buildah run --runtime "$RUNTIME" "$@"; }
expect 'run: output' 0 hello brun $container echo hello
expect 'run: exit code' 42 '' brun $container -- sh -c 'exit 42'
expect 'run: killed' 137 '' brun $container -- sh -c 'sh -c "kill -9 \$\$"; exit $?'
run_input() { echo from outside | brun $container cat; }
expect 'run: input' 0 'from outside' run_input
expect 'run --user' 0 1000 brun --user user $container id -u
expect 'run --env, --workingdir' 0 '1 /tmp' brun --env A=1 --workingdir /tmp $container sh -c 'echo $A $PWD'
expect 'run --volume ro' 0 'from the context' brun -v $work/context:/data:ro $container sh -c 'cat /data/file; ! touch /data/x 2>/dev/null'
expect 'run --network none' 0 lo brun --network none $container ls /sys/class/net
expect 'run --hostname' 0 builder brun --hostname builder $container hostname
expect_match 'run -t: size, exit code' 5 '^/dev/pts/0' \
	pty size:30x100 'expect:# ' 'send:stty size; tty\n' 'expect:30 100' 'expect:# ' 'send:exit 5\n' -- buildah run --runtime "$RUNTIME" -t $container sh
expect_match 'run: not in PATH' 1 'nope.*: executable file not found in \$PATH' brun $container nope
expect 'what one has written, the next sees' 0 kept sh -c "buildah run --runtime $RUNTIME $container sh -c 'echo kept >/f' && buildah run --runtime $RUNTIME $container cat /f"
expect 'without --runtime, as named by BUILDAH_RUNTIME' 0 named env BUILDAH_RUNTIME="$RUNTIME" buildah run $container echo named
wrong=
for i in 1 2 3 4 5; do brun $container sh -c "echo $i; exit $i" >$work/out.$i 2>/dev/null & done
for i in 1 2 3 4 5; do
	code=0
	wait -n || code=$?
	wrong+=$code
done
equal '5 in one container at a time' 12345 "$(echo $wrong | grep -o . | sort | tr -d '\n')"
buildah rm -a >/dev/null
for i in 1 2 3 4 5; do
	printf 'FROM %s\nRUN echo %s >/number; sleep 0.%s\n' $image $i $i >Parallel.$i
	bud -q -t parallel$i -f Parallel.$i . >/dev/null 2>$work/err.$i &
done
wait
equal '5 builds at a time' '1 2 3 4 5' "$(for i in 1 2 3 4 5; do podman run --rm --pull never --network none localhost/parallel$i cat /number; done | xargs)"

expect 'no container is known to the runtime' 0 '' "$RUNTIME" list -q
left_nothing 'nothing is left' /run/$RUNTIME_NAME
finish
