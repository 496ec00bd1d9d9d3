#!/bin/bash
# plain-wine.sh [TESTS]: runs the tests of the rows in docs/address-space.md by Wine without winbox, and prints what comes
# out: the host's Wine for 64-bit programs, and those of the built runtimes for 32-bit ones. Failures are results, no errors.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
WINBOX_TEST_PLAIN_WINE=1 WINBOX=${WINBOX:-$PWD/build/winbox} go test -count=1 -timeout 30m -v -parallel 1 -run "${1:-TestRow[0-9]+[A-Z].*}" ./test >"$log" 2>&1
grep -E '^ *--- (PASS|FAIL|SKIP): TestRow' "$log" | sed -E 's|^ *--- ([A-Z]+): (\S+) .*|\1 \2|' | sort -V -k2
echo
grep -E '^ +[a-z_]+_test\.go:' "$log" | grep -vE ' not (reserved|filled)$' | sort | uniq -c
