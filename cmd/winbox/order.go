package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandLines are the commands whose arguments are a command line of another
// program: all after the first argument belongs to that.
var commandLines = []string{"launch", "exec", "ps", "init"}

// flagsFirst moves a command's flags before its arguments, since runc and crun
// take them anywhere (`update ID --memory 64m`) and the library does not. What
// follows a "--" is left alone.
func flagsFirst(app *cli.App, args []string) []string {
	at := 1
	for at < len(args) && isFlag(args[at]) {
		at += 1 + operands(app.Flags, args[at])
	}
	if at >= len(args) || slices.Contains(commandLines, args[at]) {
		return args
	}
	command := app.Command(args[at])
	if command == nil || command.SkipFlagParsing {
		return args
	}
	var flags, rest []string
	for i := at + 1; i < len(args); i++ {
		switch {
		case args[i] == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case isFlag(args[i]):
			end := min(i+1+operands(command.Flags, args[i]), len(args))
			flags = append(flags, args[i:end]...)
			i = end - 1
		default:
			rest = append(rest, args[i])
		}
	}
	if slices.ContainsFunc(flags, func(flag string) bool { return slices.Contains([]string{"-h", "-help", "--help"}, flag) }) {
		return append(slices.Clone(args[:at+1]), "--help") // the library takes arguments for what the help is wanted of
	}
	return slices.Concat(args[:at+1], flags, []string{"--"}, rest)
}

// isFlag tells a flag from an argument; "-" alone is one of the latter.
func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' && arg != "--" }

// operands is how many of the arguments behind a flag are its value.
func operands(flags []cli.Flag, arg string) int {
	name := strings.TrimLeft(arg, "-")
	for _, f := range flags {
		// Of short flags in one, the last may have a value.
		named := slices.Contains(f.Names(), name) || arg[1] != '-' && !strings.Contains(name, "=") && slices.Contains(f.Names(), name[len(name)-1:])
		if f, ok := f.(cli.DocGenerationFlag); ok && named && f.TakesValue() {
			return 1
		}
	}
	return 0
}
