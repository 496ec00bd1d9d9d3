#!/bin/bash
# setup.sh [DIR]: prepares a Debian kernel for vm.sh in DIR (default build/testenv
# of this repository), once: about 10 s and 100 MB. `test/install.sh test-v2`
# installs what it needs and calls it.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
dir=${1:-$here/../../build/testenv}
mkdir -p "$dir"
dir=$(realpath "$dir")
cd "$dir"

# The name must be the exact one: apt-get takes a '*' or '+' in it for a pattern
# and fetches every kernel.
kernel_package() { apt-cache depends linux-image-6.12-cloud-amd64 2>/dev/null | awk '/Depends:/ {print $2; exit}'; }

if [ ! -e vmlinux ]; then
	package=$(kernel_package)
	if [ -z "$package" ]; then
		apt-get -o DPkg::Lock::Timeout=600 update -qq || true
		package=$(kernel_package)
	fi
	[ -n "$package" ] || { echo "setup.sh: linux-image-6.12-cloud-amd64 is not to be had: enable bookworm-backports or a newer Debian" >&2; exit 1; }
	rm -rf kroot ./*.deb
	apt-get download "$package" >/dev/null
	dpkg-deb -x "${package}"_*.deb kroot
	rm -f ./*.deb
	depmod -b kroot "$(ls kroot/lib/modules)"
	ln -sfn "kroot/lib/modules" modules
	python3 "$here/extract-vmlinux.py" kroot/boot/vmlinuz-* vmlinux.new
	mv vmlinux.new vmlinux
fi
bash "$here/initramfs.sh" "modules/$(ls modules)" initrd.gz
touch ready
