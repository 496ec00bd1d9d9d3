package wine

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// lineVariable is the variable by which the bridge (boot/pipes.c), and nobody after it, gets the program's command line,
// since Wine makes one of arguments in its own way.
const lineVariable = "WINBOX_COMMAND_LINE"

// longestLine is what a command line can have on Windows, in UTF-16 units with the zero at its end (Microsoft,
// CreateProcess).
const longestLine = 32767

// splitLine splits a command line into arguments as the programs of Microsoft's compiler do (Microsoft, "main function and
// command-line arguments"). In the first, a quotation mark just begins or ends a part with blanks.
func splitLine(line string) []string {
	line = strings.TrimLeft(line, " \t")
	if line == "" {
		return nil
	}
	var word strings.Builder
	quoted, at := false, 0
	for ; at < len(line) && (quoted || line[at] != ' ' && line[at] != '\t'); at++ {
		if line[at] == '"' {
			quoted = !quoted
		} else {
			word.WriteByte(line[at])
		}
	}
	args := []string{word.String()}
	for {
		for at < len(line) && (line[at] == ' ' || line[at] == '\t') {
			at++
		}
		if at == len(line) {
			return args
		}
		word.Reset()
		for quoted = false; at < len(line) && (quoted || line[at] != ' ' && line[at] != '\t'); {
			slashes := 0
			for at < len(line) && line[at] == '\\' {
				slashes, at = slashes+1, at+1
			}
			if at == len(line) || line[at] != '"' {
				word.WriteString(strings.Repeat(`\`, slashes))
				if slashes == 0 {
					word.WriteByte(line[at])
					at++
				}
				continue
			}
			// Before a quotation mark, two backslashes are one, and one makes it a letter like others.
			word.WriteString(strings.Repeat(`\`, slashes/2))
			switch {
			case slashes%2 == 1:
				word.WriteByte('"')
			case quoted && at+1 < len(line) && line[at+1] == '"': // two in a quoted part are one letter
				word.WriteByte('"')
				at++
			default:
				quoted = !quoted
			}
			at++
		}
		args = append(args, word.String())
	}
}

// withArgs gives a process with process.commandLine the arguments that its program will see. The program is looked for by
// the first.
func withArgs(p *specs.Process) *specs.Process {
	if p.CommandLine == "" {
		return p
	}
	changed := *p
	changed.Args = splitLine(p.CommandLine)
	return &changed
}

// asIs is the setting that has the bridge start the program with this command line.
//
// # Errors
//
// The line is longer than Windows can have it.
func asIs(line string) ([]string, error) {
	if n := len(utf16.Encode([]rune(line))); n >= longestLine {
		return nil, fmt.Errorf("process.commandLine: %d characters are more than a command line can have, %d", n, longestLine-1)
	}
	return []string{lineVariable + "=" + line}, nil
}
