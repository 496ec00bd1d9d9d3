#!/bin/bash
# vm.sh [-m MIB] [-c CPUS] [-s SHARE] [-t SECONDS] [-k PARAMETERS] [-v] COMMAND [ARG...]
#
# Runs COMMAND as root in a virtual machine whose kernel has cgroup v2 only. The
# guest sees this host's root read-only, with a tmpfs over it, and SHARE (default:
# this repository) read-write at the same path. Output and exit code come back;
# 125 is a machine that did not start. The processor is emulated, so that it
# works inside a virtual machine too: allow 5 s for the boot and for a program
# ten times its usual time. -k is for the kernel's command line; without it, there
# is no security module. The word vm.systemd in it makes systemd process 1 of the
# guest. -v prints the guest's console. More than one processor makes it faster
# and, with QEMU 7.2, now and then crash.
set -u
here=$(dirname "$(realpath "$0")")
memory=2048 cpus=1 share=$here/../.. limit=300 verbose= parameters='selinux=0 apparmor=0'
while getopts "+m:c:s:t:k:v" o; do
	case $o in
	m) memory=$OPTARG ;;
	c) cpus=$OPTARG ;;
	s) share=$OPTARG ;;
	t) limit=$OPTARG ;;
	k) parameters=$OPTARG ;;
	v) verbose=1 ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n 2,13p "$0" >&2; exit 2; }

kernel=$(realpath -m "$here/../../build/testenv")
[ "$kernel/ready" -nt "$here/initramfs.sh" ] || bash "$here/setup.sh" "$kernel" >&2 || exit 125
share=$(realpath "$share")
work=$(mktemp -d)
run=$(mktemp -d "$kernel/run.XXXXXX")
pids=()
stop() {
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
	pids=()
}
trap 'stop; rm -rf "$work" "$run"' EXIT

# What the guest runs: its output goes to two virtio ports, its exit code to a
# third.
{
	echo 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb'
	echo 'exec </dev/null'
	printf ': >%q\n' "$run/started"
	echo 'for p in /sys/class/virtio-ports/*; do eval "$(cat $p/name)=/dev/${p##*/}"; done'
	printf 'cd %q\n' "$PWD"
	printf '(exec >$out 2>$err; exec'
	printf ' %q' "$@"
	echo ')'
	echo 'echo $? >$code; sync'
	echo 'echo b >/proc/sysrq-trigger; sleep 60'
} >"$run/command"

# folder TAG DIR CACHE: offers DIR to the guest.
folder() {
	/usr/lib/qemu/virtiofsd --socket-path="$work/$1.sock" -o source="$2" -o cache="$3" -o sandbox=chroot -o xattr \
		--thread-pool-size=2 --rlimit-nofile=10000 >"$work/$1.log" 2>&1 &
	pids+=($!)
	qemu+=(-chardev "socket,id=c$1,path=$work/$1.sock" -device "vhost-user-fs-pci,chardev=c$1,tag=$1")
}

boot() {
	rm -f "$work"/*
	qemu=(qemu-system-x86_64 -M pc,usb=off,vmport=off,hpet=off -accel tcg,thread=multi,tb-size=1024
		-cpu max,smap=off,smep=off,la57=off -smp "$cpus" -m "$memory"
		-nodefaults -no-user-config -display none -no-reboot
		-kernel "$kernel/vmlinux" -initrd "$kernel/initrd.gz"
		-append "console=ttyS0 quiet nokaslr mitigations=off tsc=reliable no_timer_check random.trust_cpu=on audit=0 $parameters panic=-1 cgroup_no_v1=all vm.share=$share vm.run=$run vm.modules=$(realpath "$kernel/modules")"
		-chardev "file,id=con,path=$work/console" -serial chardev:con
		-device virtio-serial-pci
		-chardev file,id=out,path=/proc/self/fd/3 -device virtserialport,chardev=out,name=out
		-chardev file,id=err,path=/proc/self/fd/4 -device virtserialport,chardev=err,name=err
		-chardev "file,id=code,path=$work/code" -device virtserialport,chardev=code,name=code
		-device virtio-rng-pci
		-object "memory-backend-memfd,id=mem,size=${memory}M,share=on" -numa node,memdev=mem)
	folder hostroot / always
	folder share "$share" auto
	for _ in $(seq 250); do
		[ -S "$work/hostroot.sock" ] && [ -S "$work/share.sock" ] && break
		sleep 0.02
	done

	: >"$work/code"
	exec 3> >(exec cat)
	stdout=$!
	exec 4> >(exec cat >&2)
	stderr=$!
	timeout "$limit" "${qemu[@]}" >"$work/qemu.log" 2>&1 &
	machine=$!
	pids+=($machine)
	exec 3>&- 4>&-
	wait $machine
	status=$?
	wait $stdout $stderr 2>/dev/null
	stop
}

# Emulated kernels now and then panic while they boot.
for _ in 1 2 3; do
	boot
	[ ! -e "$run/started" ] || break
done
[ -z "$verbose" ] || cat "$work/console" "$work"/*.log >&2
code=$(cat "$work/code")
if [ -z "$code" ]; then
	echo "vm.sh: no exit code from the guest; qemu ended with $status" >&2
	tail -n 60 "$work/console" "$work"/*.log >&2
	code=125
fi
exit "$code"
