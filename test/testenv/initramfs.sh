#!/bin/bash
# initramfs.sh MODULES OUT: writes the guest's first file system: busybox, a few
# kernel modules, and a script that puts an overlay over the host's root and
# hands over to the command that vm.sh left in the shared folder.
set -euo pipefail
modules=$1 out=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,proc,sys,dev,modules,lower,rw,new}
cp /bin/busybox "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
for name in overlay; do
	xz -dc "$(find "$modules/kernel" -name "$name.ko.xz" | head -1)" >"$root/modules/$name.ko"
done

cat >"$root/init" <<'EOF'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev 2>/dev/null
$b mount -t securityfs securityfs /sys/kernel/security
$b mount -t selinuxfs selinuxfs /sys/fs/selinux 2>/dev/null # only with selinux=1
for m in /modules/*.ko; do $b insmod $m; done
for p in $($b cat /proc/cmdline); do
	case $p in
	vm.share=*) share=${p#*=} ;;
	vm.run=*) run=${p#*=} ;;
	vm.modules=*) modules=${p#*=} ;;
	vm.systemd) systemd=1 ;;
	esac
done

# The host's root, read-only, under a tmpfs: the guest sees the host's programs
# and can change nothing of it but the shared folder.
$b mount -t virtiofs -o ro hostroot /lower
$b mount -t tmpfs -o mode=755 tmpfs /rw
$b mkdir -p /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new
$b mkdir -p /new$share
$b mount -t virtiofs share /new$share
for d in proc sys dev; do $b mount --move /$d /new/$d; done
$b mount -t tmpfs -o mode=755 tmpfs /new/run
$b mount -t tmpfs -o mode=1777 tmpfs /new/tmp
$b mkdir -p /new/dev/shm /new/dev/pts /new/lib/modules
$b mount -t tmpfs -o mode=1777 tmpfs /new/dev/shm
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /new/dev/pts
$b mount --bind /new$modules /new/lib/modules
$b mount -t cgroup2 -o nsdelegate cgroup2 /new/sys/fs/cgroup
$b ip link set lo up
[ -n "$systemd" ] || exec $b switch_root /new /bin/sh $run/command

# A manager that has nothing to do but the command: neither generators nor units that they or the host would add.
$b mount -t tmpfs tmpfs /new/lib/systemd/system-generators
$b mkdir -p /new/run/systemd/system
$b cat >/new/run/systemd/system/vm.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh $run/command
END
exec $b switch_root /new /lib/systemd/systemd --unit=vm.service --show-status=false --log-level=warning
EOF
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$out"
