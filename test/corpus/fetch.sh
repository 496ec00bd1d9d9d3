#!/bin/bash
# fetch.sh [PACKAGE...]: gets the packages of packages.tsv, all or those named by their keys, into build/corpus/pkg/KEY by
# the ordinary npm, apt and Go clients. Archives and built programs must have the sums that are recorded there. What is
# complete already is not fetched again. Nothing of it is run here, nor are npm's install scripts. Without a PACKAGE, the
# generated input of the jobs is made, too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dest=$here/../../build/corpus

# Builds of Go programs are the same byte for byte only by the same Go: the sums of others are not compared.
built_with=go1.26.8

fail() { echo "fetch.sh: $*" >&2; exit 1; }
sum() { sha256sum "$1" | cut -d' ' -f1; }
check() { # file, sum
	[ "$(sum "$1")" = "$2" ] || fail "$1: SHA-256 is $(sum "$1"), expected $2"
}

# Each of these makes $tmp/new of NAME VERSION SUM, and for go the import path.

fetch_npm() {
	(cd "$tmp" && npm pack "$1@$2" --ignore-scripts --silent) >"$tmp/log" 2>&1 ||
		fail "npm pack $1@$2 failed: $(tail -n 3 "$tmp/log")"
	check "$tmp"/*.tgz "$3"
	mkdir "$tmp/new"
	tar -xzf "$tmp"/*.tgz -C "$tmp/new" --strip-components=1 --no-same-owner
}

# Debian's archive keeps one version: when it has moved on, that one is taken, whose sum apt has checked.
fetch_deb() {
	local get=(apt-get download -qq -o APT::Sandbox::User=root)
	(cd "$tmp" && "${get[@]}" "$1=$2" || "${get[@]}" "$1") >"$tmp/log" 2>&1 ||
		fail "apt-get download $1 failed: $(tail -n 3 "$tmp/log")"
	if [ "$(dpkg-deb -f "$tmp"/*.deb Version)" = "$2" ]; then
		check "$tmp"/*.deb "$3"
	else
		echo "note: $1 is $(dpkg-deb -f "$tmp"/*.deb Version), not $2" >&2
	fi
	dpkg-deb -x "$tmp"/*.deb "$tmp/new"
}

fetch_go() {
	local system machine
	IFS=- read -r _ system machine <<<"${key%.exe}"
	export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off
	mkdir "$tmp/src"
	(cd "$tmp/src" && go mod init corpus && go get "$1@$2" &&
		GOOS=$system GOARCH=$machine go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$tmp/new" "$4") >"$tmp/log" 2>&1 ||
		fail "building $4 for $system/$machine failed: $(tail -n 3 "$tmp/log")"
	if [ "$(go env GOVERSION)" = $built_with ]; then
		check "$tmp/new" "$3"
	else
		echo "note: $key built by $(go env GOVERSION), not $built_with: sum not compared" >&2
	fi
}

mkdir -p "$dest/pkg/.ok"
tmp=
trap 'rm -rf --one-file-system "$tmp"' EXIT
for key in "${@:-all}"; do
	[ "$key" = all ] || cut -f1 "$here/packages.tsv" | grep -qxF -- "$key" || fail "packages.tsv has no $key"
done
while IFS=$'\t' read -r key kind name version want import; do
	ok=$dest/pkg/.ok/$key
	case " ${*:-$key} " in *" $key "*) ;; *) continue ;; esac
	[ ! -f "$ok" ] || [ "$(cat "$ok")" != "$want" ] || continue
	echo "fetching $name $version ($key)"
	tmp=$(mktemp -d "$dest/.fetch.XXXXXX")
	rm -rf --one-file-system "$ok" "$dest/pkg/$key"
	"fetch_$kind" "$name" "$version" "$want" "$import" </dev/null
	mv "$tmp/new" "$dest/pkg/$key"
	rm -rf --one-file-system "$tmp"
	echo "$want" >"$ok"
done < <(tail -n +2 "$here/packages.tsv")
if [ $# = 0 ] && ! [ "$dest/fixtures" -nt "$here/fixtures.py" ]; then
	rm -rf --one-file-system "$dest/fixtures"
	python3 "$here/fixtures.py" "$dest/fixtures"
fi
