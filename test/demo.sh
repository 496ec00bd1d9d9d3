#!/bin/bash
# demo.sh: packs a folder with a real Windows archiver in a sandbox, and tells what happened. `make demo` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

work=$(mktemp -d "${TMPDIR:-/tmp}/winbox-demo.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
winbox=$top/build/winbox
archiver=$top/build/7zip-bin/win/x64/7za.exe

mkdir "$work/folder"
for i in $(seq 200); do
	seq "$i" $((i + 400)) >"$work/folder/file $i.txt"
done
cd "$work"

echo "== The program: 7za.exe, a Windows archiver (npm package 7zip-bin), and what it asks for"
"$winbox" inspect "$archiver" | sed -n '/^machine/p; /^image/p; /^relocations/p; /^stack/p; /^imports/p'
echo
echo "== winbox launch --memory 256m 7za.exe a folder.7z folder"
"$winbox" launch --memory 256m --status-file pack.json "$archiver" a folder.7z folder | tr -d '\r' | sed '/^$/d; s/^/   | /'
echo
echo "== winbox launch --memory 256m 7za.exe l folder.7z   (the last lines)"
"$winbox" launch --memory 256m --status-file list.json "$archiver" l folder.7z | tr -d '\r' | tail -n 4 | sed 's/^/   | /'
echo

# field FILE KEY: a number or string of the status file, which has one field a line.
field() { sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$1"; }
mib() { awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'; }
tell() { # FILE TITLE
	printf '   %-9s exit code %s, %s s, at most %s of %s used\n' "$2" "$(field "$1" windowsExitCode)" \
		"$(printf %.3f "$(field "$1" durationSeconds)")" "$(mib "$(field "$1" peakBytes)")" "$(mib "$(field "$1" limitBytes)")"
}

echo "== What happened"
tell pack.json packing:
tell list.json listing:
cat <<EOF
   isolated: own process, mount, network, ipc, uts and cgroup namespaces; no network; no new privileges; a system
             call filter; read-only root; of the host, the program saw this folder (D:) and its own (E:, read-only)
   address:  image at $(field pack.json imageBase), as it asks; $(field pack.json held) regions of the address space as planned, randomisation off
   set-up:   $("$winbox" launch --print-program "$archiver" | wc -l) steps, nearly all of them one system call (--print-program shows them)
EOF
[ "$(head -c 2 folder.7z)" = 7z ] || { echo "demo.sh: folder.7z is no archive" >&2; exit 1; }
