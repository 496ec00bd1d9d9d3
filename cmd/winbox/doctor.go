package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/internal/diagnosis"
	"winbox/preload"
	"winbox/preload/stub"
	"winbox/sandbox"
	"winbox/wine"
)

func doctorCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "say what this host can do, and how to mend what it cannot",
		Description: `Looks at the kernel, control groups, user namespaces, the address space that
programs can have, and Wine; tries out what can be tried without leaving
anything behind. As an ordinary user, or with --rootless, it looks at what
containers without root's privileges need. Exit code 1 when Windows programs
do not run here.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return errors.New("doctor: takes no arguments")
			}
			return printChecks(c.App.Writer, g.examine(), c.Bool("json"))
		},
	}
}

// examine looks at everything.
func (g *globals) examine() []diagnosis.Check {
	rootless := g.rootless || g.nested
	e := sandbox.Examination{Rootless: rootless, UID: os.Getuid()}
	if u, err := user.Current(); err == nil {
		e.User = u.Username
	}
	all := e.Checks()
	host := preload.ReadHost("/")
	all = append(all, host.Checks()...)
	probed := preload.Probed{Reserve: stub.Probe("amd64"), Personality: stub.Personality(), ExecMemory: stub.ExecMemory(), IA32: stub.Probe("386")}
	all = append(all, probed.Checks()...)
	built, err := wine.OpenStore(g.dataRoot).List()
	runtime, hostErr := wine.Host()
	all = append(all, wineChecks(runtime, hostErr, built, err)...)
	return append(append(all, g.placeChecks()...), imagesCheck())
}

// wineChecks are about the runtimes: the host's Wine, and those that were built.
func wineChecks(host *wine.Runtime, hostErr error, built []wine.Record, listErr error) []diagnosis.Check {
	const area, build = "wine", "winbox runtime build"
	var all []diagnosis.Check
	add := func(name string, status diagnosis.Status, found, remedy string) {
		if status == diagnosis.OK {
			remedy = ""
		}
		all = append(all, diagnosis.Check{Area: area, Name: name, Status: status, Found: found, Remedy: remedy})
	}
	var names []string
	narrow := host != nil && host.Supports(wine.I386) == nil
	for i := range built {
		names = append(names, fmt.Sprintf("%s (Wine %s)", built[i].Name, built[i].Wine))
		narrow = narrow || built[i].WoW64 != wine.WoW64None
	}
	switch {
	case hostErr == nil:
		add("host", diagnosis.OK, "Wine "+host.Version+" in "+host.WindowsDir, "")
	case built != nil:
		add("host", diagnosis.Warn, hostErr.Error(), "bundles without a Wine of their own and launch take a built runtime")
	default:
		add("host", diagnosis.Fail, hostErr.Error(), "Debian: apt-get install wine64; or "+build)
	}
	switch {
	case listErr != nil:
		add("runtimes", diagnosis.Warn, listErr.Error(), "remove what is broken: winbox runtime rm")
	case names == nil:
		add("runtimes", diagnosis.OK, "none built", "")
	default:
		add("runtimes", diagnosis.OK, strings.Join(names, ", "), "")
	}
	if narrow {
		add("32-bit programs", diagnosis.OK, "there is a Wine for them", "")
	} else {
		add("32-bit programs", diagnosis.Warn, "no Wine here runs them", build)
	}
	return all
}

// imagesCheck is about the program that unpacks images.
func imagesCheck() diagnosis.Check {
	file, err := wine.FindUnpacker()
	if err != nil {
		return diagnosis.Check{Area: "places", Name: "images", Status: diagnosis.Warn, Found: err.Error(), Remedy: "without it, no image and no runtime install: make install"}
	}
	return diagnosis.Check{Area: "places", Name: "images", Status: diagnosis.OK, Found: file}
}

// placeChecks are about where winbox keeps its things.
func (g *globals) placeChecks() []diagnosis.Check {
	var all []diagnosis.Check
	for _, p := range []struct{ name, dir, remedy string }{
		{"state", g.root, "give another folder by --root"},
		{"data", g.dataRoot, "give another folder by the environment variable WINBOX_DATA"},
	} {
		c := diagnosis.Check{Area: "places", Name: p.name, Status: diagnosis.OK, Found: p.dir}
		// What is missing is made in the nearest folder that there is.
		at := p.dir
		for _, err := os.Stat(at); errors.Is(err, os.ErrNotExist) && at != "/"; _, err = os.Stat(at) {
			at = filepath.Dir(at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			c.Status, c.Found, c.Remedy = diagnosis.Fail, fmt.Sprintf("%s: %s cannot be written to: %v", p.dir, at, err), p.remedy
		}
		all = append(all, c)
	}
	return all
}

// printChecks prints checks; it is an error when one has failed.
func printChecks(w io.Writer, checks []diagnosis.Check, asJSON bool) error {
	count := map[diagnosis.Status]int{}
	var failed []string
	for _, c := range checks {
		count[c.Status]++
		if c.Status == diagnosis.Fail {
			failed = append(failed, c.Area+": "+c.Name)
		}
	}
	var err error
	if asJSON {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		err = out.Encode(struct {
			OK     bool              `json:"ok"`
			Checks []diagnosis.Check `json:"checks"`
		}{failed == nil, checks})
	} else {
		_, err = io.WriteString(w, checkTable(checks, count))
	}
	if err == nil && failed != nil {
		err = fmt.Errorf("doctor: Windows programs do not run on this host as it is: %s", strings.Join(failed, ", "))
	}
	return err
}

// checkTable writes checks for people, remedies below what they are for.
func checkTable(checks []diagnosis.Check, count map[diagnosis.Status]int) string {
	var b, out strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	area := ""
	for _, c := range checks {
		if c.Area != area {
			area = c.Area
			fmt.Fprintf(t, "%s\n", area)
		}
		status := string(c.Status)
		if c.Status == diagnosis.Fail {
			status = "FAIL"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", status, c.Name, clean(c.Found))
		if c.Remedy != "" {
			fmt.Fprintf(t, "  \t\tremedy: %s\n", clean(c.Remedy))
		}
	}
	t.Flush()
	for line := range strings.Lines(b.String()) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	fmt.Fprintf(&out, "\n%d ok, %d to consider, %d failed\n", count[diagnosis.OK], count[diagnosis.Warn], count[diagnosis.Fail])
	return out.String()
}
