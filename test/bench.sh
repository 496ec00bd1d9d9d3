#!/bin/bash
# bench.sh: runs the benchmarks side by side with their peers, as root. What makes mounts does so in namespaces of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
go build -o build/bench-lifecycle ./bench/lifecycle
go build -o build/bench-coldstart ./bench/coldstart
go build -o build/bench-layout ./bench/layout
go build -o build/bench-quota ./bench/quota
go build -o build/bench-images ./bench/images
mkdir -p build/bench
gcc -O2 -Wall -Wextra -Werror -static -o build/bench/floor bench/lifecycle/floor/floor.c
go build -ldflags '-s -w' -o build/bench-nothing ./bench/lifecycle/nothing
# Installed, as its peers are: the linker writes through a mapping, which leaves the program in the page cache in single
# pages, and each start of it then takes a tenth longer.
install -m 755 build/winbox build/winbox-images build/bench/
install -m 755 build/bench-nothing build/bench/nothing

# crun refuses a host that has both cgroup versions mounted: there, it gets to see v1 only, and so does everybody else.
unshare -m --propagation private bash -c '
	if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
	exec build/bench-lifecycle -winbox build/bench/winbox "$@"' bench "$@"

# For 32-bit programs too: runtimes that are built here, and stay in build for the next time.
[ -d build/bench-data/runtimes/bench ] || WINBOX_DATA=build/bench-data build/winbox runtime build bench
[ -d build/bench-data/runtimes/bench-new ] || WINBOX_DATA=build/bench-data build/winbox runtime build --wow64 new bench-new
unshare -m --propagation private build/bench-coldstart -winbox build/bench/winbox -data build/bench-data -runtimes bench,bench-new
unshare -m --propagation private build/bench-layout -data build/bench-data -runtime bench
unshare -m --propagation private build/bench-quota -winbox build/bench/winbox -data build/bench-data -runtime bench
unshare -m --propagation private build/bench-images -winbox build/bench/winbox -dir build/bench-data/images
