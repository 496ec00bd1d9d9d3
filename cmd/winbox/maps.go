package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"winbox/internal/diagnosis"
	"winbox/oci"
	"winbox/preload"
	"winbox/sandbox"
	"winbox/wine"
)

// exitBroken is the exit code when a promise of the address space does not hold.
const exitBroken = 3

func mapsCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "maps",
		Usage:     "show the live address space of a Windows program, named and compared with the plan",
		ArgsUsage: "ID",
		Description: `Of the container's main program, unless --pid or --all says otherwise. Exit code
3 when the plan is broken. With --json, addresses are strings of hexadecimal
digits with 0x, sizes numbers of bytes.

    winbox maps box1
    winbox maps --json --all box1`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
			svgFlag(),
			&cli.IntFlag{Name: "pid", DefaultText: "the main program", Usage: "process `NUMBER`, as the host counts (winbox ps shows them)"},
			&cli.BoolFlag{Name: "all", Usage: "all processes of the container that run a Windows program"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return errors.New("maps: needs one container: winbox maps [flags] ID")
			}
			m, err := surveyContainer(g, c.Args().First(), c.Int("pid"), c.Bool("all"))
			if err != nil {
				return fmt.Errorf("maps: %w", err)
			}
			if file := c.String("svg"); file != "" {
				if len(m.Processes) != 1 {
					return fmt.Errorf("maps: --svg draws one process: choose one of the %d by --pid", len(m.Processes))
				}
				p := &m.Processes[0]
				err = writePicture(c.App.Writer, file, p.survey.SVG(fmt.Sprintf("%s in container %s", p.Program, m.Container)))
			}
			switch {
			case err != nil || c.String("svg") == "-":
			case c.Bool("json"):
				out := json.NewEncoder(c.App.Writer)
				out.SetIndent("", "  ")
				err = out.Encode(m)
			default:
				_, err = io.WriteString(c.App.Writer, m.text())
			}
			if err == nil && m.Broken > 0 {
				err = &exitError{code: exitBroken, err: fmt.Errorf("maps: the address space is not as planned: %s", m.firstBroken())}
			}
			return err
		},
	}
}

func svgFlag() cli.Flag {
	return &cli.StringFlag{Name: "svg", Usage: "draw a picture into `FILE`, or with - instead of the text"}
}

// writePicture writes a picture to a file, or to w when that is "-".
func writePicture(w io.Writer, file string, picture []byte) error {
	if file == "-" {
		_, err := w.Write(picture)
		return err
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		return fmt.Errorf("--svg: %w", err)
	}
	return nil
}

// mapped is the output of "winbox maps --json". Its field names are stable.
type mapped struct {
	Container string `json:"container"`
	// Broken is the number of promises that do not hold, in all processes.
	Broken    int             `json:"broken"`
	Processes []mappedProcess `json:"processes"`
}

type mappedProcess struct {
	PID     int    `json:"pid"`
	Main    bool   `json:"main"`
	Program string `json:"program"`
	Machine string `json:"machine"`
	// Process is the machine of the Linux process.
	Process string `json:"process"`
	// Plan is "kept" for the one that the container was made with, "again" for one made now.
	Plan         string         `json:"plan"`
	Limit        address        `json:"limit"`
	ProgramLimit address        `json:"program_limit"`
	Broken       int            `json:"broken"`
	Regions      []mappedRegion `json:"regions"`
	Parts        []mappedPart   `json:"parts"`
	// Preloader is what the preloader has left of its work in the process; null for one that did not come through it.
	Preloader *mappedReport `json:"preloader"`
	// Causes are what may have broken the plan, and what to do about it.
	Causes []diagnosis.Check `json:"causes"`

	survey *preload.Survey
}

// mappedReport are the two stages of the preloader: what is taken before native
// code runs, and the holes above the limit that are filled once it has been linked.
type mappedReport struct {
	Reserve mappedStage `json:"reserve"`
	// Fill is null when that stage is still to come.
	Fill *mappedStage `json:"fill"`
}

type mappedStage struct {
	Holes        uint64 `json:"holes"`
	Calls        uint64 `json:"calls"`
	Bytes        uint64 `json:"bytes"`
	Microseconds int64  `json:"microseconds"`
}

func stageOf(r preload.StageReport) mappedStage {
	return mappedStage{r.Holes, r.Calls, r.Bytes, r.Time.Microseconds()}
}

func (s *mappedStage) String() string {
	return fmt.Sprintf("%s, %s in %d µs", plural(int(s.Holes), "hole"), preload.FormatSize(s.Bytes), s.Microseconds)
}

type mappedRegion struct {
	inspectRegion
	Verdict preload.Verdict `json:"verdict"`
	Detail  string          `json:"detail"`
}

type mappedPart struct {
	Kind    preload.PartKind `json:"kind"`
	Name    string           `json:"name"`
	Start   address          `json:"start"`
	End     address          `json:"end"`
	Size    uint64           `json:"size"`
	Access  []string         `json:"access"`
	Verdict preload.Verdict  `json:"verdict"`
	Detail  string           `json:"detail"`
	// Base is where an image asks to be, Relocated how many of its pages the move has changed; of other parts they are left out.
	Base      address `json:"base,omitempty"`
	Relocated int     `json:"relocated_pages,omitempty"`
	// Private is counted for images, stacks and heaps, Committed for stacks and heaps.
	Private   uint64 `json:"private,omitempty"`
	Committed uint64 `json:"committed,omitempty"`
	// Region is the index in regions of where the part starts.
	Region   int             `json:"region"`
	Mappings []mappedMapping `json:"mappings"`
}

type mappedMapping struct {
	Start  address `json:"start"`
	End    address `json:"end"`
	Access string  `json:"access"`
	Offset uint64  `json:"offset"`
	Path   string  `json:"path"`
}

// startPatience is how long maps waits for a program that is still being loaded.
const startPatience = 3 * time.Second

// surveyContainer looks at one process of a container, or at all of them.
func surveyContainer(g *globals, id string, pid int, all bool) (*mapped, error) {
	ct, err := sandbox.Load(g.root, id)
	if err != nil {
		return nil, err
	}
	switch status := ct.Status(); {
	case !ct.Windows():
		return nil, fmt.Errorf("container %s runs no Windows program", id)
	case status != oci.Running && status != oci.Paused:
		return nil, fmt.Errorf("container %s is %s: there is an address space only while its program runs", id, status)
	}
	for deadline := time.Now().Add(startPatience); ; time.Sleep(10 * time.Millisecond) {
		m, err := surveyNow(ct, pid, all)
		if !errors.Is(err, preload.ErrNotWindows) || time.Now().After(deadline) || ct.Status() != oci.Running {
			return m, err
		}
	}
}

// running is a process of the container with a Windows program in it.
type running struct {
	*preload.Process
	pid     int
	start   uint64
	program string
	plan    *preload.Layout // for a program such as this one
}

// surveyNow looks once.
func surveyNow(ct *sandbox.Container, pid int, all bool) (*mapped, error) {
	kept, exe, err := keptPlan(ct)
	if err != nil {
		return nil, err
	}
	found, err := windowsProcesses(ct, kept)
	defer func() {
		for _, p := range found {
			p.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	m := &mapped{Container: ct.ID(), Processes: []mappedProcess{}}
	main := slices.IndexFunc(found, func(r running) bool { return preload.IsFile(r.program, exe) })
	for i, p := range found {
		isMain := i == main
		if pid != 0 && p.pid != pid || pid == 0 && !all && !isMain {
			continue
		}
		out := mappedProcess{PID: p.pid, Main: isMain, Program: clean(p.program), Plan: "again"}
		plan := p.plan
		if isMain && kept != nil {
			plan, out.Plan, p.program = kept, "kept", exe
		}
		if out.survey, err = preload.Look(p, plan, p.program, wine.HeapPieces); err != nil {
			if isMain || pid != 0 {
				return nil, fmt.Errorf("process %d: %w", p.pid, err)
			}
			continue // it has ended meanwhile
		}
		out.fill()
		m.Broken += out.Broken
		m.Processes = append(m.Processes, out)
	}
	switch {
	case len(m.Processes) > 0:
		return m, nil
	case pid != 0:
		return nil, fmt.Errorf("process %d of container %s: %w", pid, ct.ID(), preload.ErrNotWindows)
	}
	return nil, fmt.Errorf("container %s: %w", ct.ID(), preload.ErrNotWindows)
}

// keptPlan reads the plan that the container was made with, and the name of its
// program; the plan is nil when an older winbox has kept none.
func keptPlan(ct *sandbox.Container) (*preload.Layout, string, error) {
	spec, err := ct.Spec()
	if err != nil {
		return nil, "", err
	}
	program := ""
	if spec.Process != nil {
		program = strings.ReplaceAll(wine.ProgramOf(spec.Process.Args), `\`, "/")
	}
	for _, dir := range ct.Scratch() {
		plan, err := wine.Scratch(dir).ReadPlan()
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return plan, program, err
		}
	}
	return nil, program, nil
}

// windowsProcesses opens the processes that run a Windows program, in the order
// in which they have been started. The main one is the first of those that run
// the program; it may not be there yet.
func windowsProcesses(ct *sandbox.Container, kept *preload.Layout) (found []running, err error) {
	pids, err := ct.Processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		p, err := preload.OpenProcess(pid)
		if errors.Is(err, os.ErrPermission) {
			return found, err
		} else if err != nil {
			continue // it has ended
		}
		r := running{Process: p, pid: pid}
		if r.start, err = p.Start(); err == nil {
			err = r.examine(kept)
		}
		if err != nil {
			p.Close()
			continue
		}
		found = append(found, r)
	}
	slices.SortStableFunc(found, func(a, b running) int { return cmp.Compare(a.start, b.start) })
	// Now that they are open, the numbers cannot have come to mean others.
	again, err := ct.Processes()
	if err != nil {
		return found, err
	}
	return slices.DeleteFunc(found, func(r running) bool {
		gone := !slices.Contains(again, r.pid)
		if gone {
			r.Close()
		}
		return gone
	}), nil
}

// examine finds the program of a process and plans for it.
func (r *running) examine(kept *preload.Layout) error {
	name, img, file, err := preload.MainImage(r)
	if err != nil {
		return err
	}
	defer file.Close()
	r.program = name
	if kept != nil {
		r.plan, err = kept.Again(img)
	} else {
		r.plan, err = preload.Plan(img, preload.HostOptions())
	}
	return err
}

// fill makes the output of a survey.
func (p *mappedProcess) fill() {
	s := p.survey
	p.Machine, p.Process = s.Layout.Machine.String(), s.Layout.Process.String()
	p.Limit, p.ProgramLimit, p.Broken = address(s.Layout.Limit), address(s.Layout.ProgramLimit), s.Broken()
	if p.Causes = s.Causes(preload.ReadHost("/")); p.Causes == nil {
		p.Causes = []diagnosis.Check{}
	}
	if r := s.Report; r != nil {
		p.Preloader = &mappedReport{Reserve: stageOf(r.Reserve)}
		if r.Filled {
			fill := stageOf(r.Fill)
			p.Preloader.Fill = &fill
		}
	}
	for _, f := range s.Findings {
		p.Regions = append(p.Regions, mappedRegion{regionOf(f.Region), f.Verdict, clean(f.Detail)})
	}
	for i := range s.Parts {
		part := &s.Parts[i]
		out := mappedPart{
			Kind: part.Kind, Name: clean(part.Name), Start: address(part.Range.Start), End: address(part.Range.End), Size: part.Range.Size(),
			Access: part.Access(), Verdict: part.Verdict, Detail: clean(part.Detail), Base: address(part.Base), Relocated: part.Relocated,
			Private: part.Private, Committed: part.Committed, Region: part.Region,
		}
		for _, m := range part.Mappings {
			out.Mappings = append(out.Mappings, mappedMapping{address(m.Range.Start), address(m.Range.End), m.Perms, m.Offset, clean(m.Path)})
		}
		p.Parts = append(p.Parts, out)
	}
}

// firstBroken says what is wrong, and how much more is.
func (m *mapped) firstBroken() string {
	text := ""
	for _, p := range m.Processes {
		for _, r := range p.Regions {
			if r.Verdict == preload.Broken && text == "" {
				text = fmt.Sprintf("%s of %s: %s", r.Name, p.Program, r.Detail)
			}
		}
		for _, part := range p.Parts {
			if part.Verdict == preload.Broken && text == "" {
				text = fmt.Sprintf("%s of %s: %s", part.Name, p.Program, part.Detail)
			}
		}
	}
	if m.Broken > 1 {
		text += fmt.Sprintf(" (and %d more)", m.Broken-1)
	}
	return text
}

// text writes m for people: the regions of the plan, and below each what is in it.
func (m *mapped) text() string {
	var b, trimmed strings.Builder
	for i, p := range m.Processes {
		if i > 0 {
			b.WriteString("\n")
		}
		p.write(&b)
	}
	for line := range strings.Lines(b.String()) { // the last column may be empty
		trimmed.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return trimmed.String()
}

func (p *mappedProcess) write(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("program", "%s (%s program in an %s process, %d)", p.Program, p.Machine, p.Process, p.PID)
	for _, kind := range []preload.PartKind{preload.PartProgram, preload.PartStack} {
		if part := p.survey.Find(kind); part != nil {
			row(map[preload.PartKind]string{preload.PartProgram: "image", preload.PartStack: "stack"}[kind],
				"%s at %#x: %s", preload.FormatSize(part.Range.Size()), part.Range.Start, clean(part.Detail))
		}
	}
	libraries, moved, heap := 0, 0, mappedPart{}
	pieces := 0
	for _, part := range p.Parts {
		switch part.Kind {
		case preload.PartLibrary:
			libraries++
			if part.Verdict == preload.Moved {
				moved++
			}
		case preload.PartHeap:
			if pieces++; part.Name == "process heap" {
				heap.Start = part.Start
			}
			heap.Size, heap.Committed, heap.Private = heap.Size+part.Size, heap.Committed+part.Committed, heap.Private+part.Private
		}
	}
	if pieces > 0 {
		row("heap", "%s at %s, in %s: %s committed, %s private", preload.FormatSize(heap.Size), heap.Start, plural(pieces, "piece"),
			preload.FormatSize(heap.Committed), preload.FormatSize(heap.Private))
	}
	row("libraries", "%d, %d of them not at their bases", libraries, moved)
	switch r := p.Preloader; {
	case r == nil:
		row("preloader", "not seen")
	case r.Fill == nil:
		row("preloader", "reserved %s", &r.Reserve)
	default:
		row("preloader", "reserved %s; filled %s", &r.Reserve, r.Fill)
	}
	row("plan", "%s", map[bool]string{true: "holds", false: plural(p.Broken, "promise") + " broken"}[p.Broken == 0])
	for _, c := range p.Causes {
		row("cause", "%s: %s", c.Name, c.Found)
		row("remedy", "%s", c.Remedy)
	}
	t.Flush()
	b.WriteString("\n")

	t = tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "START\tEND\tSIZE\tACCESS\tWHAT\tVERDICT")
	parts := p.Parts
	for i, r := range p.Regions {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Start, r.End, preload.FormatSize(r.Size), "", strings.ToUpper(r.Name[:1])+r.Name[1:], verdictText(r.Verdict, r.Detail))
		for ; len(parts) > 0 && parts[0].Region == i; parts = parts[1:] {
			part := &parts[0]
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t  %s\t%s\n", part.Start, part.End, preload.FormatSize(part.Size), strings.Join(part.Access, ","), part.label(), verdictText(part.Verdict, part.Detail))
		}
	}
	t.Flush()
}

// label is the part's kind and name, where the name does not say the kind.
func (p *mappedPart) label() string {
	switch p.Kind {
	case preload.PartProgram, preload.PartLibrary, preload.PartFile, preload.PartNative:
		return string(p.Kind) + " " + p.Name
	}
	return p.Name
}

// verdictText marks what is not as planned.
func verdictText(v preload.Verdict, detail string) string {
	word := string(v)
	if v == preload.Broken {
		word = "BROKEN"
	}
	return strings.TrimPrefix(strings.TrimSuffix(word+": "+detail, ": "), ": ")
}
