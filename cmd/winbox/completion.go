package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes winbox's command line in a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `Completes commands, flags, their values where these are known, signals, and the
IDs of containers below --root. It is generated from what --help shows. To have
it in every shell, put it where the shell looks for such scripts:

    winbox completion bash >/usr/share/bash-completion/completions/winbox
    winbox completion zsh >/usr/share/zsh/vendor-completions/_winbox
    winbox completion fish >/usr/share/fish/vendor_completions.d/winbox.fish`,
		Action: func(c *cli.Context) error {
			scripts := map[string]func(io.Writer, *cli.App) error{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
			script := scripts[c.Args().First()]
			if script == nil || c.NArg() != 1 {
				return fmt.Errorf("completion: which shell? bash, zsh or fish")
			}
			return script(c.App.Writer, g.application())
		},
	}
}

// visible are the commands that the help shows.
func visible(app *cli.App) []*cli.Command {
	var list []*cli.Command
	for _, c := range app.Commands {
		if !c.Hidden {
			list = append(list, c)
		}
	}
	return list
}

// dashed are the names of a flag as they are written.
func (o *option) dashed() []string {
	var list []string
	for _, name := range o.names {
		if len(name) > 1 {
			name = "-" + name
		}
		list = append(list, "-"+name)
	}
	return list
}

// signalNames are those that kill completes (signal(7)).
const signalNames = "ABRT ALRM BUS CHLD CONT FPE HUP ILL INT IO KILL PIPE PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"

// bashCompletion writes a bash script. It does without the package
// bash-completion, and knows that `--flag=value` is three words to bash.
func bashCompletion(w io.Writer, app *cli.App) error {
	var flags, valued, values, args strings.Builder
	add := func(command string, list []option) {
		var all, takers []string
		for _, o := range list {
			all = append(all, o.dashed()...)
			if o.value == "" {
				continue
			}
			takers = append(takers, o.dashed()...)
			pattern := strings.Join(prefixed(command+" ", o.dashed()), "' | '")
			switch words := choices(command, &o); {
			case words == nil:
			case words[0] == "DIR":
				fmt.Fprintf(&values, "\t\t'%s') compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- \"$cur\")) ;;\n", pattern)
			case words[0] == "FILE":
				fmt.Fprintf(&values, "\t\t'%s') compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n", pattern)
			default:
				fmt.Fprintf(&values, "\t\t'%s') COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", pattern, strings.Join(words, " "))
			}
		}
		fmt.Fprintf(&flags, "\t%s) echo '%s' ;;\n", orNone(command), strings.Join(all, " "))
		fmt.Fprintf(&valued, "\t%s) [[ ' %s ' == *\" $2 \"* ]] ;;\n", orNone(command), strings.Join(takers, " "))
	}
	add("", options(app.Flags))
	var names []string
	for _, c := range visible(app) {
		names = append(names, c.Name)
		add(c.Name, options(c.Flags))
		for i, what := range arguments(c.Name) {
			place := fmt.Sprintf("\t\t'%s %d') ", c.Name, i)
			switch what[0] {
			case "ID":
				fmt.Fprintf(&args, "%sCOMPREPLY=($(compgen -W '$(_winbox_containers)' -- \"$cur\")) ;;\n", place)
			case "SIGNAL":
				fmt.Fprintf(&args, "%sCOMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", place, signalNames)
			case "FILE":
				fmt.Fprintf(&args, "%scompopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n", place)
			default:
				fmt.Fprintf(&args, "%sCOMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", place, strings.Join(what, " "))
			}
		}
	}
	_, err := fmt.Fprintf(w, `# bash completion of winbox; made by "winbox completion bash".

_winbox_containers() {
	"$program" "${root[@]}" list --quiet 2>/dev/null
}

_winbox_flags() { # command
	case $1 in
%s	esac
}

_winbox_takes_value() { # command, flag
	case $1 in
%s	*) false ;;
	esac
}

_winbox() {
	local program=${COMP_WORDS[0]} cur='' command='' flag='' count=0 i word
	local -a root=() words=()
	COMPREPLY=()
	# The words, with "--flag=value" as the flag and its value.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == '=' && ${COMP_WORDS[i - 1]} == -* ]] || { words+=("${COMP_WORDS[i]}"); continue; }
		((i < COMP_CWORD)) || words+=('')
	done
	cur=${words[${#words[@]} - 1]}
	for ((i = 0; i < ${#words[@]} - 1; i++)); do
		word=${words[i]}
		if [[ -n $flag ]]; then
			[[ -n $command || $flag != *-root ]] || root=(--root "${word/#\~\//$HOME/}")
			flag=''
		elif [[ $word == -* && $count == 0 ]]; then # behind the first argument there are no flags
			[[ $word == --* || ${#word} -eq 2 ]] || word=-$word
			! _winbox_takes_value "${command:-none}" "$word" || flag=$word
		elif [[ -z $command ]]; then
			command=$word
		else
			count=$((count + 1))
		fi
	done
	if [[ -n $flag ]]; then
		case "$command $flag" in
%s		esac
	elif [[ $cur == -* && $count == 0 ]]; then
		COMPREPLY=($(compgen -W '$(_winbox_flags "${command:-none}")' -- "$cur"))
	elif [[ -z $command ]]; then
		COMPREPLY=($(compgen -W '%s' -- "$cur"))
	else
		case "$command $count" in
%s		esac
	fi
}

complete -F _winbox winbox
`, flags.String(), valued.String(), values.String(), strings.Join(names, " "), args.String())
	return err
}

func orNone(command string) string {
	if command == "" {
		return "none"
	}
	return command
}

func prefixed(prefix string, list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, prefix+s)
	}
	return out
}

// zshCompletion writes a zsh script for the completion system (zshcompsys(1)).
func zshCompletion(w io.Writer, app *cli.App) error {
	var out strings.Builder
	spec := func(command string, list []option) {
		for _, o := range list {
			action := ""
			if o.value != "" {
				what := "()"
				switch words := choices(command, &o); {
				case words == nil:
					what = " "
				case words[0] == "DIR":
					what = "_files -/"
				case words[0] == "FILE":
					what = "_files"
				default:
					what = "(" + strings.Join(words, " ") + ")"
				}
				action = ":" + zshText(o.value) + ":" + what
			}
			for _, name := range o.dashed() {
				// Values follow as the next word or, for the long form, behind "=".
				if o.value != "" && strings.HasPrefix(name, "--") {
					name += "="
				}
				fmt.Fprintf(&out, "\t\t\t\t'*%s[%s]%s' \\\n", name, zshText(o.usage), action)
			}
		}
	}
	out.WriteString(`#compdef winbox
# zsh completion of winbox; made by "winbox completion zsh".

_winbox_containers() {
	local -a root ids
	[[ -z ${opt_args[--root]} ]] || root=(--root ${(Q)opt_args[--root]})
	[[ -z $winbox_root ]] || root=(--root ${(Q)winbox_root})
	ids=(${(f)"$(winbox $root list --quiet 2>/dev/null)"})
	compadd -a ids
}

_winbox() {
	local curcontext=$curcontext state line winbox_root
	typeset -A opt_args
	_arguments -C \
`)
	spec("", options(app.Flags))
	out.WriteString("\t\t\t\t'1:command:->command' '*::argument:->argument' && return\n\twinbox_root=${opt_args[--root]}\n\tcase $state in\n\tcommand)\n\t\tlocal -a commands=(\n")
	for _, c := range visible(app) {
		fmt.Fprintf(&out, "\t\t\t'%s:%s'\n", c.Name, zshText(c.Usage))
	}
	out.WriteString("\t\t)\n\t\t_describe command commands\n\t\t;;\n\targument)\n\t\tcase $line[1] in\n")
	for _, c := range visible(app) {
		fmt.Fprintf(&out, "\t\t%s)\n\t\t\t_arguments \\\n", c.Name)
		spec(c.Name, options(c.Flags))
		args := arguments(c.Name)
		for i, what := range args {
			action := "(" + strings.Join(what, " ") + ")"
			switch what[0] {
			case "ID":
				action = "_winbox_containers"
			case "SIGNAL":
				action = "(" + signalNames + ")"
			case "FILE":
				action = "_files"
			}
			fmt.Fprintf(&out, "\t\t\t\t'%d:argument:%s' \\\n", i+1, action)
		}
		out.WriteString("\t\t\t\t'*: : '\n\t\t\t;;\n")
	}
	out.WriteString("\t\tesac\n\t\t;;\n\tesac\n}\n\nif [[ $funcstack[1] == _winbox ]]; then _winbox \"$@\"; else compdef _winbox winbox; fi\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// zshText is a text inside '…[text]…' of _arguments.
func zshText(s string) string {
	return strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`, `\`, `\\`).Replace(s)
}

// fishCompletion writes a fish script.
func fishCompletion(w io.Writer, app *cli.App) error {
	var out strings.Builder
	flags := func(command string, list []option) {
		for _, o := range list {
			line := fmt.Sprintf("complete -c winbox -n '__winbox_argument %s 0'", orNone(command))
			for _, name := range o.names {
				if len(name) == 1 {
					line += " -s " + name
				} else {
					line += " -l " + name
				}
			}
			if o.value != "" {
				switch words := choices(command, &o); {
				case words == nil:
					line += " -x"
				case words[0] == "DIR":
					line += " -x -a '(__fish_complete_directories)'"
				case words[0] == "FILE":
					line += " -r -F"
				default:
					line += " -x -a '" + strings.Join(words, " ") + "'"
				}
			}
			fmt.Fprintf(&out, "%s -d %s\n", line, fishText(o.usage))
		}
	}
	var takers strings.Builder
	takes := func(command string, list []option) {
		var names []string
		for _, o := range list {
			if o.value != "" {
				names = append(names, o.dashed()...)
			}
		}
		fmt.Fprintf(&takers, "        case %s\n            contains -- $argv[2] %s\n", orNone(command), strings.Join(names, " "))
	}
	takes("", options(app.Flags))
	for _, c := range visible(app) {
		takes(c.Name, options(c.Flags))
	}
	fmt.Fprintf(&out, `# fish completion of winbox; made by "winbox completion fish".

function __winbox_takes_value # command, flag
    switch $argv[1]
%s    end
end

# The command of the command line, the value of --root, and the arguments behind the command.
function __winbox_parse
    set -g __winbox_command none
    set -g __winbox_root
    set -g __winbox_count 0
    set -l flag ''
    for word in (commandline -opc)[2..-1]
        if test -n "$flag"
            string match -q -- '*-root' $flag; and set __winbox_root --root $word
            set flag ''
        else if string match -q -- '-*' $word; and test $__winbox_count = 0
            if string match -qr -- '^--?root=' $word
                set __winbox_root --root (string replace -r -- '^--?root=' '' $word)
            end
            __winbox_takes_value $__winbox_command $word; and set flag $word
        else if test $__winbox_command = none
            set __winbox_command $word
        else
            set __winbox_count (math $__winbox_count + 1)
        end
    end
end

function __winbox_at
    __winbox_parse
    test $__winbox_command = $argv[1]
end

function __winbox_argument
    __winbox_at $argv[1]; and test $__winbox_count = $argv[2]
end

function __winbox_containers
    __winbox_parse
    winbox $__winbox_root list --quiet 2>/dev/null
end

complete -c winbox -f
`, takers.String())
	flags("", options(app.Flags))
	for _, c := range visible(app) {
		fmt.Fprintf(&out, "complete -c winbox -n '__winbox_at none' -a %s -d %s\n", c.Name, fishText(c.Usage))
	}
	for _, c := range visible(app) {
		flags(c.Name, options(c.Flags))
		for i, what := range arguments(c.Name) {
			action := "-a '" + strings.Join(what, " ") + "'"
			switch what[0] {
			case "ID":
				action = "-a '(__winbox_containers)'"
			case "SIGNAL":
				action = "-a '" + signalNames + "'"
			case "FILE":
				action = "-F"
			}
			fmt.Fprintf(&out, "complete -c winbox -n '__winbox_argument %s %d' %s\n", c.Name, i, action)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// fishText is a text in single quotes.
func fishText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
