package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// option is a flag as it is documented and completed.
type option struct {
	names []string // without dashes, the long one first
	value string   // what stands for its value; empty for a switch
	usage string
	deflt string // the default, where it says something
}

// options are the flags that the help shows, in its order.
func options(flags []cli.Flag) []option {
	var list []option
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		o := option{names: f.Names(), usage: doc.GetUsage()}
		if doc.TakesValue() {
			if o.value = "VALUE"; strings.Count(o.usage, "`") == 2 { // as the library's help has it
				parts := strings.Split(o.usage, "`")
				o.value, o.usage = parts[1], strings.Join(parts, "")
			}
			if o.deflt = doc.GetDefaultText(); o.deflt == `""` || o.deflt == "0" {
				o.deflt = ""
			}
		}
		list = append(list, o)
	}
	return append(list, option{names: []string{"help", "h"}, usage: "show help"})
}

// choices are the words that the value of a flag is one of, or "DIR" or "FILE"
// for a name in the file system; nil when nothing is known of it.
func choices(command string, o *option) []string {
	switch o.names[0] {
	case "log-format":
		return []string{"text", "json"}
	case "format":
		return []string{"table", "json"}
	case "network":
		return []string{"none", "host"}
	case "display":
		return []string{"none", "virtual", "host"}
	case "boot":
		return []string{"minimal", "auto", "full"}
	case "rootless":
		return []string{"auto", "true", "false"}
	case "compression":
		return []string{"gzip", "zstd"}
	case "wow64":
		return []string{"i386", "new", "none"}
	case "cwd":
		return nil // inside the container
	}
	if o.value == "DIR" || o.value == "FILE" {
		return []string{o.value}
	}
	if o.value == "SOCKET" || command == "spec" && o.names[0] == "windows" {
		return []string{"FILE"}
	}
	return nil
}

// arguments says what the arguments of a command are: "ID" for a container that
// exists, "FILE", "SIGNAL" or words; for the last one, "…" behind it means more of them.
func arguments(command string) [][]string {
	switch command {
	case "start", "state", "delete", "pause", "resume", "update", "events", "maps":
		return [][]string{{"ID"}}
	case "stats":
		return [][]string{{"ID"}, {"ID"}, {"ID"}, {"ID"}} // and more, which nobody types
	case "screenshot", "vnc":
		return [][]string{{"ID"}, {"FILE"}}
	case "kill":
		return [][]string{{"ID"}, {"SIGNAL"}}
	case "exec", "ps":
		return [][]string{{"ID"}}
	case "launch", "inspect", "init":
		return [][]string{{"FILE"}}
	case "image":
		return [][]string{strings.Split(imageVerbs, "|"), {"FILE"}}
	case "runtime":
		return [][]string{{"build", "install", "ls", "prune", "rm", "verify"}}
	case "setup":
		return [][]string{setupEngines}
	case "completion":
		return [][]string{{"bash", "zsh", "fish"}}
	case "man":
		return [][]string{{"DIR"}}
	}
	return nil
}
