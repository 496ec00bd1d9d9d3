#!/bin/bash
# setup.sh [DIR]: prepares a Debian kernel for vm.sh in DIR (default build/testenv
# of this repository). As root, once: about 25 s and 175 MB.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
dir=${1:-$here/../../build/testenv}
mkdir -p "$dir"
dir=$(realpath "$dir")
cd "$dir"

apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends \
	qemu-system-x86 busybox-static cpio kmod xz-utils zstd python3 >/dev/null

# The name must be the exact one: apt-get takes a '*' or '+' in it for a pattern
# and fetches every kernel.
package=$(apt-cache depends linux-image-6.12-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
[ -n "$package" ] || { echo "setup.sh: linux-image-6.12-cloud-amd64 is not to be had: enable bookworm-backports or a newer Debian" >&2; exit 1; }
rm -rf kroot ./*.deb
apt-get download "$package" >/dev/null
dpkg-deb -x "${package}"_*.deb kroot
rm -f ./*.deb
python3 "$here/extract-vmlinux.py" kroot/boot/vmlinuz-* vmlinux
version=$(ls kroot/lib/modules)
depmod -b kroot "$version"
ln -sfn "kroot/lib/modules" modules
bash "$here/initramfs.sh" "modules/$version" initrd.gz
touch ready
