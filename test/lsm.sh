#!/bin/bash
# lsm.sh: runs the tests of security labels in virtual machines that have the security modules.
set -eu
cd "$(dirname "$0")/.."
status=0
for module in AppArmor SELinux; do
	parameters="apparmor=0 selinux=1"
	[ $module = SELinux ] || parameters="apparmor=1 selinux=0"
	echo "== $module"
	test/v2.sh -k "$parameters" ./sandbox "Test$module" || status=1
done
exit $status
