#!/bin/bash
# run.sh [SCRIPT...]: runs the tests under container engines, all of them or those named (podman.sh …), one after the
# other. RUNTIME=crun or another runtime instead of build/winbox shows whether the expectations are what that one does.
set -uo pipefail
cd "$(dirname "$(realpath "$0")")"

# Seconds after which a script that hangs is ended.
limit=600

[ $# -gt 0 ] || set -- $(for f in *.sh; do case $f in run.sh | lib.sh | wineroot.sh) ;; *) echo "$f" ;; esac; done)
failed=()
for script; do
	echo "== $script"
	start=$SECONDS
	timeout -k 20 $limit bash "./$script" </dev/null || failed+=("$script")
	echo "   $((SECONDS - start)) s"
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
