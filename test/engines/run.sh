#!/bin/bash
# run.sh [SCRIPT...]: runs the tests under container engines, all of them or those named (podman.sh …), two at a time.
# RUNTIME=crun or another runtime instead of build/winbox shows whether the expectations are what that one does.
set -uo pipefail
cd "$(dirname "$(realpath "$0")")"

# Seconds after which a script that hangs is ended.
limit=600

[ $# -gt 0 ] || set -- $(for f in *.sh; do case $f in run.sh | lib.sh | wineroot.sh) ;; *) echo "$f" ;; esac; done)
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf --one-file-system "$logs"' EXIT
trap 'exit 130' INT TERM

# run_script SCRIPT prints everything when it is done, so that no two outputs are mixed; a success is noted.
run_script() {
	local start=$SECONDS status=0 pid
	timeout -k 20 $limit bash "./$1" </dev/null >"$logs/$1" 2>&1 &
	pid=$!
	trap 'kill $pid' TERM
	wait $pid # until it ends or a signal has been passed on
	wait $pid || status=$?
	[ $status -ne 124 ] || echo "ended after $limit s" >>"$logs/$1"
	[ $status -ne 0 ] || echo "$1" >>"$logs/passed"
	printf '== %s\n%s\n   %s s\n' "$1" "$(cat "$logs/$1")" $((SECONDS - start))
}

touch "$logs/passed"
for script; do
	while [ "$(jobs -pr | wc -l)" -ge 2 ]; do wait -n; done
	run_script "$script" &
done
wait
failed=$(printf '%s\n' "$@" | grep -vxF -f "$logs/passed" | xargs)
[ -z "$failed" ] || { echo "failed: $failed" >&2; exit 1; }
