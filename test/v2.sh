#!/bin/bash
# v2.sh [-t SECONDS] [-k PARAMETERS] [PACKAGE TEST...]
#
# Runs tests as root on cgroup v2, with systemd as process 1, in one boot of the machine of testenv/vm.sh: those named, or
# all that the version of cgroups makes a difference to. -k is vm.sh's. -t bounds the time; seven minutes are usual. A
# test that skips makes it fail, unless allowed-skips-v2.txt names it.
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "$0")")")
cd "$root"
limit=1200 machine=(-k 'selinux=0 apparmor=0 vm.systemd')
while getopts "t:k:" o; do
	case $o in
	t) limit=$OPTARG ;;
	k) machine=(-k "$OPTARG") ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
export GOFLAGS="-trimpath -tags=urfave_cli_no_docs" CGO_ENABLED=0

# Package, then the tests; none are all. Emulated, a test takes ten times as long: those about other things stay out.
selection() {
	cat <<-EOF
		./sandbox/cgroup
		./sandbox TestLimits TestPidsLimit TestCPUQuota TestOOM TestOOMGroup TestBadLimit TestCgroupsPath TestMountCgroup TestOverlay TestProtectedPaths TestDevices TestRun TestRunKilled TestLife TestDelete TestSharedPID TestStartCutOff TestExecStatus TestExecParallel TestSystemd TestSystemdNamespaces TestSystemdRefused TestSystemdTaken TestSystemdCutOff TestRealSystemd
		./cmd/winbox TestEvents TestEventsOOM TestRunOOM TestStats TestPause TestUpdate TestPs TestLifeCommands TestDeleteForce TestExecIgnorePaused TestExecSubgroup TestExecNested TestSystemdCgroup TestRootlessLimits TestRootlessDelegated TestRealSystemdUser
		./test TestToldMemory TestToldUpdate TestToldProcessors TestCommitLimit TestCommitShared TestOOMKill TestOOMEvent TestCommitEvent TestBombs TestCPUs
	EOF
}
[ $# -eq 0 ] || selection() { echo "${args[*]}"; }
args=("$@")

mkdir -p build/v2
# What takes minutes there and seconds here: the template of Wine, which is the host's in both, and Windows programs.
prepare() {
	rm -rf build/v2/prepared
	mkdir -p build/v2/prepared/programs/amd64
	go build -ldflags '-s -w' -o build/v2/winbox ./cmd/winbox
	(cd build/v2 && WINBOX_DATA=$PWD/prepared/data ./winbox --root prepared/state launch cmd /c 'exit 0')
	for p in quota commit burden; do
		x86_64-w64-mingw32-gcc -O1 -s -o build/v2/prepared/programs/amd64/$p.exe test/pe/$p.c -lws2_32 -lpsapi
	done
}
script=build/v2/script log=build/v2/log
echo 'failed=0' >$script
while read -r package tests; do
	name=$(go list "$package")
	binary=$root/build/v2/${name//\//-}.test
	go test -c -ldflags '-s -w' -o "$binary" "$package"
	pattern=${tests:+^(${tests// /|})\$}
	if [ "$package" = ./test ]; then
		prepare
		# Only with the host's Wine; 60 processes take longer than a test waits. winbox is in the guest's memory, too.
		pattern+='/^(amd64|threads|few_processes)$'
		export WINBOX=$root/build/v2/winbox WINBOX_TEST_PREPARED=$root/build/v2/prepared
		echo "cp $WINBOX /tmp/winbox; export WINBOX=/tmp/winbox WINBOX_TEST_PREPARED=$WINBOX_TEST_PREPARED" >>$script
	fi
	# A test that was renamed must not go missing.
	have=$(cd "$(go list -f '{{.Dir}}' "$package")" && "$binary" -test.list .)
	for t in $tests; do
		grep -qx "$t" <<<"$have" || { echo "v2.sh: $name has no test $t" >&2; exit 1; }
	done
	# A test runs in its package's folder, as under go test; its program from the guest's memory, as a file of the host's
	# is read anew each time it is started.
	printf 'echo "== %s"; cp %q /tmp/test; (cd %q && exec /tmp/test -test.v -test.timeout %ss -test.run %q) || failed=1\n' \
		"$name" "$binary" "$(go list -f '{{.Dir}}' "$package")" "$limit" "${pattern:-.}" >>$script
done < <(selection)
echo 'exit $failed' >>$script

status=0
test/testenv/vm.sh -t "$limit" "${machine[@]}" /bin/bash "$root/$script" >$log 2>&1 || status=$?
grep -E '^(== |--- |FAIL|panic)|^ +--- (FAIL|SKIP)' $log || true
if [ $status -ne 0 ]; then
	echo "--- log of the failed run"
	grep -v -E '^ *(=== |--- PASS)' $log | tail -n 300
	exit $status
fi
skipped=$(grep -oE -- '--- SKIP: [^ ]+' $log | cut -d' ' -f3 | grep -vxF -f <(cut -d' ' -f1 test/allowed-skips-v2.txt) || true)
if [ -n "$skipped" ]; then
	echo "skipped, but must run on cgroup v2:" $skipped >&2
	grep -B1 -E -- '--- SKIP' $log >&2
	exit 1
fi
