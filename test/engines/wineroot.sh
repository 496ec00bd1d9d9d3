#!/bin/bash
# wineroot.sh DIR: makes a small Debian-like root file system with Wine and 7za.exe in the new folder DIR, from what this
# host has installed (test/install.sh test), in some seconds. Console programs run in it; there is no display, no service.
#
#   /bin/sh, /bin/ls and so on   busybox, static
#   /usr/lib/wine, /usr/share/wine, /usr/lib/x86_64-linux-gnu/wine   a part of Debian's Wine, where Debian has it
#   /app/7za.exe                 the Windows program; also by its name alone, as /usr/bin/7za.exe
#   /etc/passwd, /etc/group      root, user (1000), nobody
set -euo pipefail

fail() { echo "wineroot.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:?folder to make}
sevenzip=$here/build/7zip-bin/win/x64/7za.exe
busybox=$(command -v busybox) || fail "busybox is missing (Debian package busybox-static)"
objdump=x86_64-w64-mingw32-objdump strip=x86_64-w64-mingw32-strip
multiarch=/usr/lib/x86_64-linux-gnu
unix=$multiarch/wine/x86_64-unix windows=$multiarch/wine/x86_64-windows

[ -f "$sevenzip" ] || fail "$sevenzip is missing: run test/install.sh test"
[ -f $windows/ntdll.dll ] || fail "Debian's Wine is missing: run test/install.sh test"
[ ! -e "$dir" ] || fail "$dir exists"

# A root of merged /usr, as Debian's.
mkdir -p "$dir"
chmod 755 "$dir" # whatever the umask, and if mktemp -d made the parent
for d in app dev etc proc root home/user run sys tmp usr/bin usr/sbin usr/lib64 usr/lib/wine usr/lib/locale usr/share/wine .$unix .$windows; do
	install -d -m 755 "$dir/$d"
done
chmod 1777 "$dir/tmp"
for d in bin sbin lib lib64; do ln -s usr/$d "$dir/$d"; done

install -m 755 "$busybox" "$dir/usr/bin/busybox"
file -L "$busybox" | grep -q 'static' || fail "$busybox is not static (Debian package busybox-static)"
for name in $("$busybox" --list); do
	[ "$name" = busybox ] || ln -s busybox "$dir/usr/bin/$name"
done

# Wine: loader, server, and the ELF modules of a console program.
cp -a /usr/lib/wine/wine64 /usr/lib/wine/wineserver64 "$dir/usr/lib/wine/"
modules=()
for name in ntdll win32u ws2_32 bcrypt crypt32 secur32 msv1_0 dnsapi nsiproxy mountmgr netapi32; do
	[ ! -f $unix/$name.so ] || modules+=("$unix/$name.so")
done
cp -a "${modules[@]}" "$dir$unix/"
cp -a /usr/share/wine/wine.inf /usr/share/wine/nls "$dir/usr/share/wine/"

# Its PE files: these, and what they import.
declare -A have=()
add() { # names
	local name
	for name in "$@"; do
		name=${name,,}
		[ -z "${have[$name]-}" ] && [ -f "$windows/$name" ] || continue
		have[$name]=1
		todo+=("$name")
	done
}
imports() { "$objdump" -p "$@" | sed -n 's/^\tDLL Name: //p' | sort -fu; }
todo=()
add apisetschema.dll ntdll.dll kernel32.dll kernelbase.dll advapi32.dll user32.dll win32u.dll ucrtbase.dll msvcrt.dll msvcp140.dll vcruntime140.dll \
	shell32.dll shlwapi.dll ole32.dll oleaut32.dll rpcrt4.dll imm32.dll uxtheme.dll ws2_32.dll mswsock.dll iphlpapi.dll bcrypt.dll \
	crypt32.dll rsaenh.dll version.dll winmm.dll psapi.dll userenv.dll setupapi.dll netapi32.dll dbghelp.dll comctl32.dll \
	wineboot.exe services.exe plugplay.exe svchost.exe winedevice.exe rpcss.exe explorer.exe \
	cmd.exe conhost.exe reg.exe start.exe taskkill.exe tasklist.exe find.exe findstr.exe more.com hostname.exe whoami.exe where.exe xcopy.exe \
	$(imports "$sevenzip")
while [ ${#todo[@]} -gt 0 ]; do
	files=("${todo[@]/#/$windows/}")
	todo=()
	add $(imports "${files[@]}")
done
# Without debugging symbols, a quarter is left.
for name in "${!have[@]}"; do
	printf '%s\0' "$name"
done | xargs -0 -P 2 -I{} "$strip" --strip-unneeded -o "$dir$windows/{}" "$windows/{}"
chmod 644 "$dir$windows"/*

# The libraries of all that, the dynamic linker, and the locale without which Wine takes file names for ASCII.
# Wine opens FreeType and fontconfig at run time. Without the first it says so in every program; without the second no
# window can be made, and the desktop that a console on a terminal wants is started again and again.
fonts=($multiarch/libfreetype.so.6 $multiarch/libfontconfig.so.1)
ldd /usr/lib/wine/wine64 "${modules[@]}" "${fonts[@]}" | grep -oE '/[^ ]+\.so[^ ]*' | grep -v ':$' | sort -u | while read -r library; do
	case $library in "$unix"/*) continue ;; esac
	real=$(realpath "$library")
	cp -a "$real" "$dir$multiarch/"
	[ "$(basename "$library")" = "$(basename "$real")" ] || ln -sf "$(basename "$real")" "$dir$multiarch/$(basename "$library")"
done
cp -L "${fonts[@]}" "$dir$multiarch/"
mkdir "$dir/etc/fonts"
printf '%s\n' '<?xml version="1.0"?>' '<!DOCTYPE fontconfig SYSTEM "fonts.dtd">' '<fontconfig><cachedir>/tmp/fontconfig</cachedir></fontconfig>' >"$dir/etc/fonts/fonts.conf"
# The unwinder is opened at run time too (pthread_exit(3)).
cp -L $multiarch/libgcc_s.so.1 "$dir$multiarch/"
ln -sf $multiarch/ld-linux-x86-64.so.2 "$dir/usr/lib64/ld-linux-x86-64.so.2"
cp -a /usr/lib/locale/C.utf8 "$dir/usr/lib/locale/"

install -m 755 "$sevenzip" "$dir/app/7za.exe"
ln -s ../../app/7za.exe "$dir/usr/bin/7za.exe"
printf '%s\n' root:x:0:0:root:/root:/bin/sh user:x:1000:1000:user:/home/user:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false >"$dir/etc/passwd"
printf '%s\n' root:x:0: tty:x:5: user:x:1000: nogroup:x:65534: >"$dir/etc/group"
printf 'hosts: files dns\n' >"$dir/etc/nsswitch.conf"
chown -h 1000:1000 "$dir/home/user" 2>/dev/null || true
