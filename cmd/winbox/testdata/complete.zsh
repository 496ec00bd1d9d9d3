# Prints what zsh offers for each argument, a command line: complete.zsh SCRIPT LINE...
zmodload zsh/zpty
inner=$(mktemp)
trap 'rm -f $inner' EXIT
cat >$inner <<'INNER'
PROMPT= RPROMPT=
autoload -Uz compinit && compinit -D -u
compadd() {
	# Calls that store matches elsewhere offer nothing.
	if [[ -n ${@[(r)-[OAD]*]} ]]; then builtin compadd "$@"; return; fi
	local -a found
	builtin compadd -O found "$@"
	(( $#found )) && print -rl -- '' OFFER:$^found
	builtin compadd "$@"
}
complete-and-tell() { zle complete-word; print -rl -- '' OFFERED }
zle -N complete-and-tell
bindkey '^I' complete-and-tell
source $script
print -r -- REA''DY
INNER
zpty shell zsh -f -i
# Reads until the shell has written a line; the limit keeps a broken script from hanging.
await() {
	local chunk
	out=
	for ((i = 0; i < 600; i++)); do
		while zpty -r -t shell chunk; do out+=$chunk; done
		[[ $out == *$1* ]] && return
		sleep 0.05
	done
	print -r -- "waited in vain for $1: $out" >&2
	exit 1
}
zpty -w shell "script=$1; source $inner"
await $'\n'READY
shift
for line in "$@"; do
	print -r -- "[$line]"
	zpty -w -n shell $'\C-u'"$line"$'\t'
	await $'\n'OFFERED
	print -r -- $out | tr -d '\r' | sed -n 's/^OFFER://p'
done
zpty -d shell
