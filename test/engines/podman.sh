#!/bin/bash
# podman.sh: Linux containers under podman as root.
. "$(dirname "$(realpath "$0")")/lib.sh"

containers_config
busybox_root $work/root
tar -C $work/root -c . | podman import -q - box >/dev/null || die "podman import failed"
image=localhost/box
# podman makes the parent of its control groups and the place of network namespaces once.
podman run --rm $image true || die "podman run failed"
remember

expect 'run: output' 0 hello podman run --rm $image echo hello
expect 'exit code 42' 42 '' podman run --rm $image sh -c 'exit 42'
left_nothing 'nothing is left' /run/winbox

finish
