# runner.sh: helpers for job functions, and the command line of jobs.sh, which sources this file last.
#
# A job is a function job_NAME. It starts with `stage PACKAGE...` (the keys in packages.tsv of what it needs), runs Windows
# programs through R, and compares what came out with an oracle. Any failing command ends the job (set -e).

: "${RUN:=winbox launch}" # the launcher, split at blanks
: "${T:=60}"              # seconds that one program may take
LAUNCH=()                 # what a job adds to the launcher's flags

# stage PACKAGE...: makes the empty job folder and enters it. app: programs; in: input; out: output; lx: the oracle's.
stage() {
	local p
	for p in "$@"; do
		[ -f "$P/.ok/$p" ] || die "$p is not there: run test/corpus/fetch.sh"
	done
	mkdir -p "$JOBS/$NAME"/{app,in,out,lx}
	cd "$JOBS/$NAME"
}

# R PROGRAM ARG...: runs a Windows program: a path relative to the job folder, or one of Windows' own by its name.
# shellcheck disable=SC2086 # RUN is a command with arguments
R() { timeout -k 5 "$T" $RUN "${LAUNCH[@]}" "$@" 9>&-; }

# serve PROGRAM ARG...: the same in the background, which would lose standard input; ended by endserve or with the job.
# shellcheck disable=SC2086
serve() { timeout -k 5 "$T" $RUN "${LAUNCH[@]}" "$@" <&0 9>&- & SERVER=$!; }
endserve() {
	[ -n "${SERVER-}" ] || return 0
	kill "$SERVER" 2>/dev/null || true
	wait "$SERVER" 2>/dev/null || true
	SERVER=
}

die() { echo "$*"; exit 1; }
crlf() { tr -d '\r'; }
freeport() { python3 -c 'import socket;s=socket.socket();s.bind(("127.0.0.1",0));print(s.getsockname()[1])'; }
waitport() {
	local i
	for ((i = 0; i < 200; i++)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
		sleep .1
	done
	return 1
}

# onerr: the ERR trap; notes the source line of the command that failed (file descriptor 9 is standard output).
onerr() {
	local i=0
	while [ "${FUNCNAME[i + 1]}" = R ]; do i=$((i + 1)); done
	local file=${BASH_SOURCE[i + 1]##*/} line=${BASH_LINENO[i]}
	echo "failed: $file:$line: $(sed -n "${line}{s/^[[:space:]]*//;p}" "$HERE/$file")" >&9
}

case ${1-} in
list) declare -F | sed -n 's/^declare -f job_//p' ;;
run)
	[ $# = 3 ] && declare -F "job_$3" >/dev/null || die "usage: jobs.sh run FOLDER NAME (jobs.sh list shows the names)"
	JOBS=$(cd "$2" && pwd) NAME=$3
	export LC_ALL=C.UTF-8
	set -Eeo pipefail
	exec 9>&1 2>&1 </dev/null
	trap endserve EXIT
	trap onerr ERR
	"job_$NAME"
	;;
*) die "usage: jobs.sh list | run FOLDER NAME" ;;
esac
