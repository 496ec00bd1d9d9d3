#!/bin/bash
# buildkit.sh: what a BuildKit daemon calls, call by call. docker.sh has builds by the older one inside dockerd, which
# does not keep containers and executes nothing in them.
#
# The calls are those of executor/runcexecutor in BuildKit 0.12 and go-runc: the runtime stays in the foreground, the
# container is kept until its exit code is known (crun 1.8 cannot), and a terminal is not the runtime's controlling one.
. "$(dirname "$(realpath "$0")")/lib.sh"

busybox_root $work/root
rt=("$RUNTIME" --log $work/runc-log.json --log-format json)

# bundle ID TTY COMMAND...: a bundle in $work/ID; process TTY COMMAND...: a process on standard output.
process() { printf '%s\0' "$@" | "$PYTHON" -c '
import json, sys
tty, *args = sys.stdin.read().split("\0")[:-1]
print(json.dumps({"terminal": tty == "tty", "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/"}))'; }
bundle() {
	local id=$1
	shift
	mkdir -p $work/$id
	cat >$work/$id/config.json <<-END
		{"ociVersion": "1.0.2", "process": $(process "$@"), "root": {"path": "$work/root"},
		"mounts": [
			{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
			{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}],
		"linux": {"cgroupsPath": "/buildkit/$id", "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}]}}
	END
}

# status ID WANT
status() { [ "$("$RUNTIME" state "$1" 2>/dev/null | "$PYTHON" -c 'import json, sys; s = json.load(sys.stdin); print(s["status"], s["bundle"], s["rootfs"])')" = "$2 $work/$1 $work/root" ]; }
# run_to_end NAME CODE OUTPUT COMMAND...: a step of a build.
run_to_end() {
	local name=$1 code=$2 output=$3
	shift 3
	bundle step pipe "$@"
	expect "$name" "$code" "$output" "${rt[@]}" run --bundle $work/step --keep step
	check "$name: kept, stopped" status step stopped
	check "$name: deleted" "${rt[@]}" delete step
	expect_match "$name: gone" 1 'container does not exist' "$RUNTIME" state step
}

bundle first pipe true
"${rt[@]}" run --bundle $work/first first || die "run failed"
remember

# ---- Steps of a build

run_to_end 'run' 0 hello echo hello
run_to_end 'run: exit code' 42 '' sh -c 'exit 42'
run_to_end 'run: killed' 143 '' sh -c 'sh -c "kill -TERM \$\$"; exit $?'
bundle step pipe nope
expect_match 'run: not found' 1 'exec: "nope": executable file not found in \$PATH' "${rt[@]}" run --bundle $work/step --keep step
last_error() { "$PYTHON" -c '
import datetime, json
last = [json.loads(line) for line in open("'$work'/runc-log.json")][-1]
datetime.datetime.fromisoformat(last["time"].replace("Z", "+00:00"))
print(last["level"], "nope" in last["msg"])'; }
expect 'run: not found, in the log' 0 'error True' last_error
# runc keeps a container that it could not start.
check 'run: not found: deleted' "${rt[@]}" delete --force step
left_nothing 'nothing is left of the steps' /run/runc /run/winbox /run/crun

# ---- A step that goes on, and what is executed in it

bundle stay pipe sh -c 'echo begun; exec sleep 1000'
setsid "${rt[@]}" run --bundle $work/stay --keep stay </dev/null >$work/stay.out 2>&1 &
stay=$!
check 'state, until it runs' eventually status stay running
process pipe sh -c 'echo out; echo error >&2; exit 7' >$work/process.json
expect 'exec: output and exit code' 7 out "${rt[@]}" exec --process $work/process.json --pid-file $work/exec.pid stay
equal 'exec: standard error' error "$err"
process pipe wc -l >$work/process.json
expect 'exec: standard input' 0 3 sh -c 'printf "a\nb\nc\n" | "$@"' sh "${rt[@]}" exec --process $work/process.json --pid-file $work/exec.pid stay
process pipe nope >$work/process.json
expect_match 'exec: not found' 255 'exec: "nope": executable file not found in \$PATH' "${rt[@]}" exec --process $work/process.json --pid-file $work/exec.pid stay

rm -f $work/exec.pid
process pipe sleep 1000 >$work/process.json
setsid "${rt[@]}" exec --process $work/process.json --pid-file $work/exec.pid stay </dev/null >/dev/null 2>&1 &
execed=$!
check 'exec: pid file, while it runs' eventually test -s $work/exec.pid
equal 'exec: pid file has digits only' 0 "$(tr -d 0-9 <$work/exec.pid | wc -c)"
equal 'exec: pid file is of the process' 'sleep 1000 ' "$(tr '\0' ' ' </proc/"$(cat $work/exec.pid)"/cmdline)"
kill -KILL "$(cat $work/exec.pid)"
wait $execed
equal 'exec: killed' 137 $?

# foreign_tty CMD...: runs CMD with a terminal as standard streams that is not its controlling one. The program prints its
# size, then every change. After a resize, which only a SIGWINCH tells CMD, it ends at a line.
foreign_tty() {
	timeout -k 5 $LIMIT "$PYTHON" - "$@" <<-'END'
		import fcntl, os, signal, struct, subprocess, sys, termios
		ptm, pts = os.openpty()
		def resize(rows, columns):
		    fcntl.ioctl(ptm, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
		seen = b""
		def expect(text):
		    global seen
		    while text not in seen:
		        seen += os.read(ptm, 65536)
		resize(20, 50)
		runtime = subprocess.Popen(sys.argv[1:], stdin=pts, stdout=pts, stderr=pts, process_group=0)
		os.close(pts)
		expect(b"20 50\r\n")
		resize(33, 77)
		runtime.send_signal(signal.SIGWINCH)
		expect(b"33 77\r\n")
		os.write(ptm, b"bye\r")
		expect(b"got bye\r\n")
		sys.exit(runtime.wait())
	END
}
sizes='stty size; while [ "$(stty size)" = "20 50" ]; do sleep 0.02; done; stty size; read line; echo "got $line"; exit 6'
process tty sh -c "$sizes" >$work/process.json
expect 'exec: a terminal that is resized' 6 '' foreign_tty "${rt[@]}" exec --process $work/process.json --pid-file $work/exec.pid stay
bundle step tty sh -c "$sizes"
expect 'run: a terminal that is resized' 6 '' foreign_tty "${rt[@]}" run --bundle $work/step --keep step
check 'run: deleted' "${rt[@]}" delete step

check 'kill' "${rt[@]}" kill stay 9
wait $stay
equal 'killed: exit code' 137 $?
equal 'killed: output' begun "$(cat $work/stay.out)"
check 'killed: deleted' "${rt[@]}" delete stay

# A daemon that dies takes the runtime with it (PDEATHSIG), and its successor clears up.
bundle orphan pipe sleep 1000
setsid "${rt[@]}" run --bundle $work/orphan --keep orphan </dev/null >/dev/null 2>&1 &
orphan=$!
eventually status orphan running
kill -KILL $orphan
check 'runtime killed: deleted by force' "${rt[@]}" delete --force orphan
left_nothing 'nothing is left' /run/runc /run/winbox /run/crun
finish
