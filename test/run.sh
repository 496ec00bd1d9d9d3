#!/bin/bash
# run.sh unit|integration [ARGUMENT...]: runs the tests, with further arguments of go test. A test that skips makes the run
# fail, unless allowed-skips.txt names it: on this kind of machine everything is there that the others need.
#
# run.sh fuzz [SECONDS]: gives each fuzz target so much time, and the PE reader six times that; default 5.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# of_failed prints what the tests that failed have printed, with a line of the name before, and what belongs to no test.
# `=== RUN`, `=== CONT` and `=== NAME` say whose the lines are that follow.
of_failed() {
	awk '
		NR == FNR { if ($1 == "---" && $2 == "FAIL:") failed[$3] = 1; next }
		$1 == "===" && $2 ~ /^(RUN|CONT|NAME|PAUSE)$/ { if ($2 != "PAUSE") test = $3; next }
		$1 == "---" && $2 ~ /^(PASS|SKIP|FAIL):$/ { test = $3; if ($2 == "FAIL:") print; next }
		/^(PASS|FAIL|ok|panic|\?)/ { test = "" }
		test == "" || test in failed { if (test != said && test != "") print "=== " test; said = test; print }
	' "$log" "$log"
}

run_tests() { # go test arguments
	local status=0
	go test -v "$@" >"$log" 2>&1 || status=$?
	grep -E '^(ok|FAIL|---|panic|\?)|^ +--- (FAIL|SKIP)' "$log" | grep -v -E '^--- PASS|no test files' || true
	if [ $status -ne 0 ]; then
		echo "--- log of the failed tests"
		of_failed | tail -n 400
		exit $status
	fi
	local skipped
	skipped=$(grep -oE -- '--- SKIP: [^ ]+' "$log" | cut -d' ' -f3 | grep -vxF -f <(cut -d' ' -f1 test/allowed-skips.txt) || true)
	if [ -n "$skipped" ]; then
		echo "skipped, but must run here:" $skipped >&2
		grep -B1 -E -- '--- SKIP' "$log" >&2
		exit 1
	fi
}

case ${1-} in
unit) run_tests -count=1 "${@:2}" $(go list ./... | grep -v '/test$') ;;
integration) run_tests -count=1 -timeout 30m "${@:2}" ./test ;;
fuzz)
	seconds=${2:-5}
	# Left alone, go spends up to a minute on making each interesting input smaller, and fuzzes nothing meanwhile.
	# Go before 1.27 now and then reports the end of -fuzztime itself as the failure (golang/go#75804). Whatever the
	# fuzzer finds, it writes down as an input, and says so: that tells the two apart.
	fuzz() { # package target time
		local status=0
		go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 1s -parallel 2 </dev/null >"$log" 2>&1 || status=$?
		cat "$log"
		[ $status -eq 0 ] || only_deadline "$log"
	}
	only_deadline() {
		! grep -qE 'Failing input written|panic:|_test\.go:|fuzzing process' "$1" &&
			[ "$(grep -A1 -E '^--- FAIL: Fuzz' "$1" | tail -n +2)" = '    context deadline exceeded' ]
	}
	# The PE reader sees the most hostile input and gets the most time.
	fuzz ./preload/pe FuzzOpen $((6 * seconds))s
	while read -r package target; do
		fuzz "$package" "$target" ${seconds}s
	done < <(grep -rlE --include='*_test.go' '^func Fuzz' . | while read -r file; do
		grep -oE '^func Fuzz[A-Za-z0-9]+' "$file" | sed "s|^func |./$(dirname "$file" | sed 's|^\./||') |"
	done | grep -v ' FuzzOpen$')
	;;
*) echo "usage: run.sh unit|integration [ARGUMENT...] or fuzz [SECONDS]" >&2; exit 2 ;;
esac
