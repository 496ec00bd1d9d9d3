package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func manCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "write the manual pages to a folder",
		ArgsUsage:   "DIR",
		Hidden:      true,
		Description: "Used by `make man`. The pages are made of what --help shows.",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return errors.New("man: the folder is needed")
			}
			for name, page := range manPages(g.application()) {
				if err := os.WriteFile(filepath.Join(c.Args().First(), name), []byte(page), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// manPages makes the manual (man(7)) by the names of the files.
func manPages(app *cli.App) map[string]string {
	pages := map[string]string{"winbox.1": mainPage(app)}
	for _, c := range visible(app) {
		pages["winbox-"+c.Name+".1"] = commandPage(c)
	}
	return pages
}

func mainPage(app *cli.App) string {
	m := newManual("winbox", app.Usage)
	m.line(".B winbox", "[\\fIglobal options\\fR]", "\\fIcommand\\fR", "[\\fIoptions\\fR] [\\fIarguments\\fR]")
	m.section("DESCRIPTION")
	m.text(app.Description)
	m.options("GLOBAL OPTIONS", append(options(app.Flags), option{names: []string{"version", "v"}, usage: "print the version"}))
	m.section("COMMANDS")
	for _, c := range visible(app) {
		m.line(".TP")
		m.line(".BR winbox\\-" + c.Name + " (1)")
		m.prose(c.Usage)
	}
	m.section("EXIT STATUS")
	m.text(`0 on success, 1 when winbox has failed, and with run, exec and launch that of the program: 128 + N when signal
N has killed it. exec gives 255 when its process could not be made; launch 124 to 127 for failures of its own.`)
	m.section("ENVIRONMENT")
	m.item("LISTEN_FDS, LISTEN_PID", "sockets that systemd has passed on; create and run hand them to the program")
	m.item("WINBOX_DATA", "folder for prepared Wine prefixes (default: /var/lib/winbox, for an ordinary user $XDG_DATA_HOME/winbox)")
	m.item("XDG_RUNTIME_DIR", "an ordinary user's containers are kept below it")
	m.section("FILES")
	m.item("/run/winbox/ID/", "state of a container")
	m.section("SEE ALSO")
	var others []string
	for _, c := range visible(app) {
		others = append(others, "winbox\\-"+c.Name)
	}
	m.references(others)
	return m.String()
}

func commandPage(c *cli.Command) string {
	m := newManual("winbox-"+c.Name, c.Usage)
	m.line(".B winbox", "[\\fIglobal options\\fR]", "\\fB"+c.Name+"\\fR", "[\\fIoptions\\fR]", "\\fI"+roff(c.ArgsUsage)+"\\fR")
	m.section("DESCRIPTION")
	m.text(c.Description)
	m.options("OPTIONS", options(c.Flags))
	m.section("SEE ALSO")
	m.references([]string{"winbox"})
	return m.String()
}

// manual is a page in the making.
type manual struct{ strings.Builder }

func newManual(name, usage string) *manual {
	m := &manual{}
	m.line(fmt.Sprintf(`.TH %s 1 %s "winbox %s" "winbox manual"`, strings.ToUpper(roff(name)), pageDate(), roff(version)))
	m.section("NAME")
	m.prose(name + " \u2013 " + usage)
	m.section("SYNOPSIS")
	return m
}

// pageDate is the day of the commit that winbox was built from; pages are the
// same whenever they are made.
func pageDate() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if day, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return day.Format(time.DateOnly)
			}
		}
	}
	return "1970-01-01"
}

func (m *manual) line(words ...string) { m.WriteString(strings.Join(words, " ") + "\n") }

func (m *manual) section(title string) { m.line(".SH " + title) }

// text writes paragraphs, which empty lines part; indented ones are examples.
func (m *manual) text(s string) {
	for i, paragraph := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		if i > 0 {
			m.line(".PP")
		}
		example := strings.HasPrefix(paragraph, "    ")
		if example {
			m.line(".RS 4\n.nf")
		}
		if !example {
			m.prose(paragraph)
			continue
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			m.line(roff(strings.TrimPrefix(line, "    ")))
		}
		m.line(".fi\n.RE")
	}
}

// prose writes text that troff fills, in short lines.
func (m *manual) prose(s string) {
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(roff(line))+len(roff(word)) > 76 {
			m.line(roff(line))
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	m.line(roff(line))
}

func (m *manual) options(title string, list []option) {
	m.section(title)
	for _, o := range list {
		var names []string
		for _, name := range o.dashed() {
			names = append(names, `\fB`+roff(name)+`\fR`)
		}
		term := strings.Join(names, ", ")
		if o.value != "" {
			term += ` \fI` + roff(o.value) + `\fR`
		}
		usage := o.usage
		if o.deflt != "" {
			usage += " (default: " + o.deflt + ")"
		}
		m.line(".TP\n" + term)
		m.prose(usage)
	}
}

func (m *manual) item(term, text string) {
	m.line(".TP\n.B " + roff(term))
	m.prose(text)
}

func (m *manual) references(pages []string) {
	for i, page := range pages {
		end := ","
		if i == len(pages)-1 {
			end = ""
		}
		m.line(".BR " + page + " (1)" + end)
	}
}

// roff is plain text for troff. A dash is what parts name and purpose (man(7)).
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`, "`", "", "\u2013", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
