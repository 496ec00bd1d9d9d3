# Prints what bash offers for each argument, a command line whose words bash would part
# at "=" as well: complete.bash SCRIPT LINE...
source "$1"
shift
[[ $(complete -p winbox) == *' -F _winbox winbox' ]] || exit 1
for line in "$@"; do
	echo "[$line]"
	spaced=${line//=/ = }
	read -ra COMP_WORDS <<<"$spaced"
	[[ $spaced != *' ' ]] || COMP_WORDS+=('')
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	_winbox
	[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\n' "${COMPREPLY[@]}"
done
