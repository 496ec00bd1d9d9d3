#!/bin/bash
# podman-windows.sh: Windows programs under podman, in an image with Wine and in one without.
. "$(dirname "$(realpath "$0")")/lib.sh"
[ "$RUNTIME_NAME" = winbox ] || die "only winbox runs Windows programs"

containers_config
"$engines/wineroot.sh" $work/wine >/dev/null || die "wineroot.sh failed"
windows_programs $work/wine/app
tar -C $work/wine -c . | podman import -q -c ENV=PATH=/usr/bin:/app - wine >/dev/null || die "podman import failed"
image=localhost/wine
# Windows files only: Wine comes from the host then.
mkdir -p $work/bare/app
cp "$top/build/7zip-bin/win/x64/7za.exe" $work/bare/app/
tar -C $work/bare -c . | podman import -q - bare >/dev/null || die "podman import failed"
# The first one makes the template of prefixes, which stays.
podman run --rm $image 7za.exe i >/dev/null || die "the first Windows program failed"
remember

logged() { podman logs "$1" 2>&1 | grep -qE -- "$2"; }

crlf() { "$@" | tr -d '\r'; }

# ---- Output, exit codes

expect_match 'output' 0 '^7-Zip \(a\) 21\.07 \(x64\)' box $image 7za.exe i
expect_match 'exit code 2' 2 'ERROR: File not found' box $image /app/7za.exe t missing.7z
expect_match 'exit code 7' 7 'Incorrect command line|Unknown switch|Command Line Error' box $image 7za.exe t -zzz x
expect 'a program of Wine' 57 '' box $image 'C:\windows\system32\cmd.exe' /c 'exit 57'
for exit in "${exit_codes[@]}"; do
	expect "exit code ${exit%:*}" "${exit#*:}" '' box $image exit.exe "${exit%:*}"
done
expect_match 'not found' 127 'exec: "nope.exe": executable file not found in \$PATH: OCI runtime attempted to invoke a command that was not found' box $image nope.exe
expect 'a Linux program in the same image' 0 linux box $image echo linux
expect_match 'an image without Wine' 0 '^7-Zip \(a\) 21\.07 \(x64\)' box localhost/bare 'C:\app\7za.exe' i
with_input() { echo from outside | box -i $image 7za.exe a -si -so -txz x | xz -dc; }
expect 'input and output, binary' 0 'from outside' with_input
expect 'a user' 0 '' box --user user $image sh -c 'exit $(id -u | grep -vc 1000)'
expect_match 'a user runs it' 0 '^7-Zip' box --user user $image 7za.exe i
expect_match 'restricted: no capabilities, no new privileges, read-only root' 0 '^7-Zip' box --cap-drop all --security-opt no-new-privileges --read-only $image 7za.exe i
expect 'read-only root: C:' 0 'none' crlf box --read-only $image 'C:\windows\system32\cmd.exe' /c '(echo x>C:\new.txt& echo x>C:\windows\system32\oledlg.dll) 2>nul& if not exist C:\new.txt echo none'
expect 'read-only root: TEMP and the registry' 0 'kept' crlf box --read-only --user user --cap-drop all $image 'C:\windows\system32\cmd.exe' /c 'echo kept>%TEMP%\new.txt& type %TEMP%\new.txt& reg add HKLM\Software\New /v v /d 1 /f >nul'
expect 'a user writes over a DLL of Wine' 0 'mine' crlf box --user user $image 'C:\windows\system32\cmd.exe' /c 'echo mine>C:\windows\system32\oledlg.dll& type C:\windows\system32\oledlg.dll'
expect_match 'default network' 0 '^7-Zip' podman run --rm $image 7za.exe i
# Wine draws on terminals, it does not write.
expect_match 'run -it' 6 . pty -- podman run --rm -it --network none $image 'C:\windows\system32\cmd.exe' /c 'echo on a terminal& exit 6'

# ---- Built from a Dockerfile

cat >$work/Dockerfile <<-END
	FROM scratch
	COPY app/ /app/
	ENTRYPOINT ["/app/7za.exe"]
	CMD ["i"]
END
check 'build FROM scratch' podman build -q --network none -t scratch -f $work/Dockerfile $work/bare
expect_match 'FROM scratch: the arguments of CMD' 0 '^7-Zip \(a\) 21\.07 \(x64\)' box localhost/scratch
expect_match 'FROM scratch: other arguments, exit code' 2 'ERROR: File not found' box localhost/scratch t missing.7z

# ---- Folders

mkdir $work/docs
seq 10000 >$work/docs/numbers.txt
drive=(--mount "type=bind,src=$work/docs,dst=/D:\\")
expect_match 'a folder as a drive' 0 'Everything is Ok' box "${drive[@]}" $image 7za.exe a 'D:\out.7z' 'D:\*.txt'
expect 'what it has written' 0 "$(seq 10000)" box "${drive[@]}" $image 7za.exe e -so 'D:\out.7z'
expect_match '-v at a Linux path: on drive D:' 0 'Everything is Ok' box -v $work/docs:/data:ro $image 7za.exe t 'D:\data\out.7z'
expect_match '-v ro' 2 'Access is denied|Read-only|ERROR|cannot open' box -v $work/docs:/data:ro $image 7za.exe a 'D:\data\new.7z' 'D:\data\numbers.txt'
[ ! -e $work/docs/new.7z ] && ok '-v ro: nothing is written' || fail '-v ro: nothing is written' "$(ls $work/docs)"

# ---- Paths and names

shell='C:\windows\system32\cmd.exe'
expect '-w, Linux path' 0 'D:\app' crlf box -w /app $image "$shell" /c cd
expect '-e PATH' 0 'found' crlf box -e 'PATH=C:\tools;D:\app' -w /app $image "$shell" /c '7za.exe i >nul && echo found'
expect '--hostname' 0 'BOX' crlf box --hostname box.example.com $image "$shell" /c 'echo %COMPUTERNAME%'
expect '--user' 0 'user C:\users\user' crlf box --user user $image "$shell" /c 'echo %USERNAME% %USERPROFILE%'
expect 'no Z:' 0 'none' crlf box $image "$shell" /c 'if not exist Z:\ if not exist D:\etc echo none'
expect 'Z: on request' 0 'there' crlf box --annotation io.winbox.drives=z=/ $image "$shell" /c 'if exist Z:\etc\passwd echo there'

# ---- Limits, life

expect_match '-m: enough' 0 'Everything is Ok' box -m 512m "${drive[@]}" $image 7za.exe t 'D:\out.7z'
expect_match '-m: too little, and the program says so' 8 'allocate' box -m 64m $image 7za.exe b 1 -md25
expect_match '-m: too little, and nothing refused' 137 . \
	box -m 64m --annotation io.winbox.memory.commit=off $image 7za.exe b 1 -md25
start c -m 256m $image 7za.exe b 1000 -mmt1
check 'it runs' eventually logged c '^7-Zip'
expect '-m: the limit seen inside' 0 268435456 podman exec c cat /sys/fs/cgroup/memory/memory.limit_in_bytes
expect_match 'exec' 0 '^7-Zip' podman exec c 7za.exe i
expect_match 'exec: exit code' 2 'ERROR: File not found' podman exec c 7za.exe t missing.7z
expect 'exec of a Linux program' 0 linux podman exec c echo linux
expect "the image's own Wine is on the image's layers" 0 1 podman exec c \
	sh -c 'stat -c %d / /usr/lib/wine/wine64 /usr/lib/x86_64-linux-gnu/wine/x86_64-unix/ntdll.so | sort -u | wc -l'
expect_match 'top' 0 '7za.exe' podman top c args
expect_match 'stats' 0 '^c [1-9]' podman stats --no-stream --format '{{.Name}} {{.PIDs}}' c
check 'pause' podman pause c
expect 'status of a paused container' 0 paused inspect c '{{.State.Status}}'
check 'unpause' podman unpause c
check 'update' podman update -m 300m --memory-swap 300m c
expect 'the limit is changed' 0 314572800 podman exec c cat /sys/fs/cgroup/memory/memory.limit_in_bytes
check 'stop' podman stop -t 50 c
# Its handler returns; whether it or the program itself is faster is a matter of chance.
expect_match 'stop: within the grace period' 0 'exited (130|255)' inspect c '{{.State.Status}} {{.State.ExitCode}}'
check 'start again' podman start c
check 'kill' podman kill c
expect 'killed' 0 137 podman wait c
remove c
start crashing --restart on-failure:1 $image 7za.exe t missing.7z
twice() { [ "$(inspect crashing '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}')" = '1 exited 2' ]; }
check 'restart after a failure' eventually twice
remove crashing

# ---- Stopping

# stops NAME STATUS OUTPUT PROGRAM...: what becomes of a program by podman stop.
stops() {
	local name=$1 want="$2 waiting${3:+ $3}"
	shift 3
	podman run -d --name s --network none $image "$@" >/dev/null && eventually logged s waiting || { fail "$name" "podman run failed"; return; }
	podman stop -t 5 s >/dev/null
	equal "$name" "$want" "$(inspect s '{{.State.ExitCode}}') $(podman logs s 2>&1 | tr -s '\r\n' ' ' | sed 's/ $//')"
	remove s
}
stops 'stop: a console program with a handler' 7 'ctrl-shutdown cleaned up' stop.exe handle
stops 'stop: one without' 130 '' stop.exe none
stops 'stop: a program with a window' 5 WM_CLOSE unsaved.exe close
stops 'stop: one with something unsaved' 143 'WM_CLOSE WM_QUERYENDSESSION WM_ENDSESSION saved' unsaved.exe save
stops 'stop: a program that ignores it' 137 ctrl-shutdown stop.exe ignore

# ---- A pod: its pause program and a side-car are Linux programs

podman pod create --name pod >/dev/null || fail 'pod create' 'podman pod create failed'
podman run -d --pod pod --name side $image sleep 1000 >/dev/null || fail 'side-car' 'podman run failed'
expect_match 'in a pod' 0 '^7-Zip' podman run --rm --pod pod $image 7za.exe i
remove_pods

# ---- Many, and what is left

parallel=()
for i in 1 2 3 4 5 6; do
	box $image 'C:\windows\system32\cmd.exe' /c "exit $i" >/dev/null 2>&1 &
	parallel+=($!)
done
codes=
for i in "${parallel[@]}"; do
	code=0
	wait $i || code=$?
	codes+=$code
done
equal '6 in parallel' 123456 "$codes"
expect 'no container is known to the runtime' 0 '' "$RUNTIME" list -q
left_nothing 'nothing is left' /run/winbox /var/lib/winbox/containers
finish
