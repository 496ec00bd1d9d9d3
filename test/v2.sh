#!/bin/bash
# v2.sh [-r REGEXP] [-t SECONDS] PACKAGE...
#
# Runs the tests of Go packages as root on cgroup v2, in one boot of the machine
# of testenv/vm.sh. -r picks tests, as go test -run does.
set -eu
root=$(dirname "$(dirname "$(realpath "$0")")")
cd "$root"
run=. limit=600
while getopts "r:t:" o; do
	case $o in
	r) run=$OPTARG ;;
	t) limit=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n 2,5p "$0" >&2; exit 2; }

mkdir -p build/v2
script=build/v2/script
echo 'failed=0' >$script
for package in $(go list "$@"); do
	binary=$root/build/v2/${package//\//-}.test
	rm -f "$binary"
	go test -c -o "$binary" "$package"
	[ -e "$binary" ] || continue # no tests
	# A test runs in its package's folder, as under go test.
	printf 'echo "== %s"; (cd %q && exec %q -test.v -test.run %q) || failed=1\n' \
		"$package" "$(go list -f '{{.Dir}}' "$package")" "$binary" "$run" >>$script
done
echo 'exit $failed' >>$script
exec test/testenv/vm.sh -t "$limit" /bin/bash "$root/$script"
