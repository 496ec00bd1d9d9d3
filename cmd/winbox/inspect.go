package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/urfave/cli/v2"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/wine"
)

func inspectCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show what a Windows program asks of its address space, and what it will get",
		ArgsUsage: "app.exe",
		Description: `Exit code 126: not a program that can be run; 127: no such file. With --json,
addresses are strings of hexadecimal digits with 0x, sizes numbers of bytes.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
			svgFlag(),
			&cli.StringFlag{Name: "runtime", DefaultText: "one that can run it", Usage: "the Wine to plan for, `RUNTIME`: host, or one that was built"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return errors.New("inspect: needs one file: winbox inspect [--json] app.exe")
			}
			by, err := g.engineFor(c.String("runtime"), c.Args().First())
			if err != nil {
				return err
			}
			return inspect(c.App.Writer, c.Args().First(), by, inspectFlags{json: c.Bool("json"), svg: c.String("svg")})
		},
	}
}

// engine is the Wine that a plan is for, and the facts that it is planned with.
type engine struct {
	options preload.Options
	runtime wine.Record
	// none says why there is no runtime that runs the program; the plan is then
	// for one that can be anywhere.
	none error
}

// engineFor is what a launch on this host would run the program with.
func (g *globals) engineFor(name, program string) (engine, error) {
	machine := wine.AMD64
	if img, file, err := pe.OpenFile(program); err == nil {
		file.Close()
		if arch := img.Machine.Arch(); arch != "" { // of others Plan says what is wrong
			machine = arch
		}
	}
	runtime, err := wine.OpenStore(g.dataRoot).Select(name, machine)
	if err == nil {
		err = runtime.Supports(machine)
	}
	var no32 *wine.No32BitError
	switch {
	case err == nil:
		opt, err := runtime.PlanOptions(machine)
		return engine{options: opt, runtime: runtime.Record()}, err
	case name != "" && !errors.As(err, &no32):
		return engine{}, err
	}
	return engine{options: preload.HostOptions(), none: err}, nil
}

// inspectFlags are those of the command that say what to print.
type inspectFlags struct {
	json bool
	svg  string
}

// inspect prints what there is to say of the program at path. A file that opens
// but cannot be run is printed and is an error all the same.
func inspect(w io.Writer, path string, by engine, flags inspectFlags) error {
	img, file, err := pe.OpenFile(path)
	if err != nil {
		return &exitError{code: preload.ExitCode(err), err: err}
	}
	defer file.Close()
	in := examine(path, img)
	layout, problem := planFor(img, by.options)
	if problem != nil {
		in.Problem = problem.Error()
	} else {
		in.Layout, in.Runs = layoutOf(layout), by.runs(layout)
	}
	if flags.svg != "" && layout != nil {
		err = writePicture(w, flags.svg, layout.SVG(filepath.Base(path)))
	}
	switch {
	case err != nil || flags.svg == "-":
	case flags.json:
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		err = out.Encode(in)
	default:
		_, err = io.WriteString(w, in.text(img, layout))
	}
	if err == nil && problem != nil {
		err = &exitError{code: preload.ExitCode(problem), err: fmt.Errorf("%s: %w", path, problem)}
	}
	return err
}

// runs says as what the program runs.
func (by *engine) runs(l *preload.Layout) *inspectRuns {
	r := &inspectRuns{As: "process-64", Runtime: by.runtime.Name, Wine: by.runtime.Wine}
	switch {
	case by.none != nil:
		r.As, r.Problem = "none", clean(by.none.Error())
	case l.Machine != l.Process:
		r.As = "wow64"
	case l.Process == pe.MachineI386:
		r.As = "process-32"
	}
	return r
}

func (r *inspectRuns) String() string {
	by := fmt.Sprintf("runtime %s, Wine %s", r.Runtime, r.Wine)
	switch r.As {
	case "wow64":
		return "a part of a 64-bit Linux process, in its low 4 GiB: new WoW64 (" + by + ")"
	case "process-32":
		return "a 32-bit Linux process with an address space of its own (" + by + ")"
	case "process-64":
		return "a 64-bit Linux process (" + by + ")"
	}
	return "nothing on this host: " + r.Problem
}

// planFor plans for img if it can be run at all.
func planFor(img *pe.Image, opt preload.Options) (*preload.Layout, error) {
	if err := preload.Runnable(img, false); err != nil {
		return nil, err
	}
	return preload.Plan(img, opt)
}

// address is written as a hexadecimal string, since JSON readers that take
// numbers for floating point lose digits of large ones.
type address uint64

func (a address) String() string               { return fmt.Sprintf("%#x", uint64(a)) }
func (a address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// inspection is the output of "winbox inspect --json". Its field names are stable.
type inspection struct {
	File              string              `json:"file"`
	Machine           string              `json:"machine"`
	Format            string              `json:"format"`
	Subsystem         string              `json:"subsystem"`
	SubsystemVersion  string              `json:"subsystem_version"`
	Library           bool                `json:"library"`
	ImageBase         address             `json:"image_base"`
	ImageSize         uint64              `json:"image_size"`
	EntryPoint        address             `json:"entry_point"`
	Relocatable       bool                `json:"relocatable"`
	Relocations       *inspectRelocations `json:"relocations"`
	Stack             inspectReserve      `json:"stack"`
	Heap              inspectReserve      `json:"heap"`
	LargeAddressAware bool                `json:"large_address_aware"`
	ASLR              bool                `json:"aslr"`
	HighEntropyASLR   bool                `json:"high_entropy_aslr"`
	DEP               bool                `json:"dep"`
	CFG               bool                `json:"cfg"`
	SEHandlers        uint64              `json:"se_handlers"`
	CheckSum          uint32              `json:"checksum"`
	Signed            bool                `json:"signed"`
	DotNet            *inspectDotNet      `json:"dotnet"`
	TLS               *inspectTLS         `json:"tls"`
	Version           *inspectVersion     `json:"version"`
	Sections          []inspectSection    `json:"sections"`
	Imports           []inspectImport     `json:"imports"`
	// Warnings are parts of the file that could not be read.
	Warnings []string `json:"warnings"`
	// Problem says why the program cannot be run; Layout is null then.
	Problem string         `json:"problem"`
	Runs    *inspectRuns   `json:"runs"`
	Layout  *inspectLayout `json:"layout"`
}

// inspectRuns says how the program runs here.
type inspectRuns struct {
	// As is "process-64" or "process-32" for a Linux process of that word size,
	// "wow64" for a 32-bit program in the low 4 GiB of a 64-bit process, "none"
	// when no runtime runs it; the layout is then for one that would.
	As      string `json:"as"`
	Runtime string `json:"runtime"`
	Wine    string `json:"wine"`
	Problem string `json:"problem"`
}

type inspectRelocations struct {
	Blocks int `json:"blocks"`
	Fixups int `json:"fixups"`
}

type inspectReserve struct {
	Reserve uint64 `json:"reserve"`
	Commit  uint64 `json:"commit"`
}

type inspectDotNet struct {
	Only bool `json:"only"`
}

type inspectTLS struct {
	DataSize  uint64 `json:"data_size"`
	ZeroFill  uint32 `json:"zero_fill"`
	Callbacks int    `json:"callbacks"`
}

type inspectVersion struct {
	File    string            `json:"file"`
	Product string            `json:"product"`
	Strings map[string]string `json:"strings"`
}

type inspectSection struct {
	Name     string  `json:"name"`
	Start    address `json:"start"`
	Size     uint32  `json:"size"`
	FileSize uint32  `json:"file_size"`
	Access   string  `json:"access"`
}

type inspectImport struct {
	DLL       string `json:"dll"`
	Functions int    `json:"functions"`
	Delay     bool   `json:"delay"`
}

type inspectLayout struct {
	Process      string          `json:"process"`
	Limit        address         `json:"limit"`
	ProgramLimit address         `json:"program_limit"`
	Moved        string          `json:"moved"`
	StackSize    uint64          `json:"stack_size"`
	Regions      []inspectRegion `json:"regions"`
	Reservations []inspectRange  `json:"reservations"`
}

type inspectRegion struct {
	Kind  preload.Kind  `json:"kind"`
	Name  string        `json:"name"`
	State preload.State `json:"state"`
	Start address       `json:"start"`
	End   address       `json:"end"`
	Size  uint64        `json:"size"`
}

type inspectRange struct {
	Start address `json:"start"`
	End   address `json:"end"`
}

// examine gathers what the headers and directories of img say. A directory that
// cannot be read becomes a warning: the rest is still worth showing.
func examine(path string, img *pe.Image) *inspection {
	in := &inspection{
		File:              path,
		Machine:           img.Machine.String(),
		Format:            "PE32",
		Subsystem:         img.Subsystem.String(),
		SubsystemVersion:  fmt.Sprintf("%d.%d", img.SubsystemVersion[0], img.SubsystemVersion[1]),
		Library:           img.IsDLL(),
		ImageBase:         address(img.ImageBase),
		ImageSize:         uint64(img.SizeOfImage),
		Relocatable:       img.Relocatable(),
		Stack:             inspectReserve{img.StackReserve, img.StackCommit},
		Heap:              inspectReserve{img.HeapReserve, img.HeapCommit},
		LargeAddressAware: img.LargeAddressAware(),
		ASLR:              img.DLLCharacteristics&pe.DynamicBase != 0,
		HighEntropyASLR:   img.DLLCharacteristics&pe.HighEntropyVA != 0,
		DEP:               img.DLLCharacteristics&pe.NXCompat != 0,
		CFG:               img.DLLCharacteristics&pe.GuardCF != 0,
		CheckSum:          img.CheckSum,
		Signed:            img.Signed(),
		Sections:          []inspectSection{},
		Imports:           []inspectImport{},
		Warnings:          []string{},
	}
	if img.PE32Plus {
		in.Format = "PE32+"
	}
	if img.EntryPoint != 0 {
		in.EntryPoint = address(img.ImageBase + uint64(img.EntryPoint))
	}
	for _, s := range img.Sections {
		in.Sections = append(in.Sections, inspectSection{
			clean(s.Name), address(img.ImageBase + uint64(s.VirtualAddress)), s.VirtualSize, s.SizeOfRawData, access(s.Flags)})
	}
	in.addDirectories(img)
	return in
}

func (in *inspection) addDirectories(img *pe.Image) {
	warn := func(err error) bool {
		if err != nil {
			in.Warnings = append(in.Warnings, clean(err.Error()))
		}
		return err == nil
	}
	if t, err := img.Relocations(); warn(err) && t != nil {
		in.Relocations = &inspectRelocations{t.Blocks, t.Fixups}
	}
	if c, err := img.LoadConfig(); warn(err) && c != nil {
		in.SEHandlers = c.SEHandlers
	}
	if c, err := img.CLR(); warn(err) && c != nil {
		in.DotNet = &inspectDotNet{c.Only()}
	}
	if t, err := img.TLS(); warn(err) && t != nil {
		in.TLS = &inspectTLS{t.DataSize, t.ZeroFill, t.Callbacks}
	}
	if v, err := img.Version(); warn(err) && v != nil {
		in.Version = &inspectVersion{dotted(v.File), dotted(v.Product), map[string]string{}}
		for key, value := range v.Strings {
			in.Version.Strings[clean(key)] = clean(value)
		}
	}
	for _, list := range []struct {
		read  func() ([]pe.Import, error)
		delay bool
	}{{img.Imports, false}, {img.DelayImports, true}} {
		imports, err := list.read()
		warn(err)
		for _, imp := range imports {
			in.Imports = append(in.Imports, inspectImport{clean(imp.DLL), len(imp.Functions), list.delay})
		}
	}
}

func layoutOf(l *preload.Layout) *inspectLayout {
	out := &inspectLayout{
		Process:      l.Process.String(),
		Limit:        address(l.Limit),
		ProgramLimit: address(l.ProgramLimit),
		Moved:        l.Moved,
		StackSize:    l.StackSize,
	}
	for _, r := range l.Regions {
		out.Regions = append(out.Regions, regionOf(r))
	}
	for _, r := range l.Reservations() {
		out.Reservations = append(out.Reservations, inspectRange{address(r.Start), address(r.End)})
	}
	return out
}

func regionOf(r preload.Region) inspectRegion {
	return inspectRegion{r.Kind, r.Name, r.State, address(r.Range.Start), address(r.Range.End), r.Range.Size()}
}

// textWidth is the widest line of the text output, in columns.
const textWidth = 100

// text writes in for people; layout is nil when there is none.
func (in *inspection) text(img *pe.Image, layout *preload.Layout) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	kind := "program"
	if in.Library {
		kind = "library"
	}
	row("file", "%s", clean(in.File))
	row("machine", "%s %s (%s)", in.Machine, kind, in.Format)
	row("subsystem", "%s, Windows %s", in.Subsystem, in.SubsystemVersion)
	if in.Runs != nil {
		for i, line := range wrapWords(in.Runs.String(), textWidth-16) {
			row(map[bool]string{true: "runs as"}[i == 0], "%s", line)
		}
	}
	row("image", "%s at %s, %s", preload.FormatSize(in.ImageSize), in.ImageBase, plural(len(in.Sections), "section"))
	row("relocations", "%s", in.relocationText())
	row("stack", "%s reserved, %s committed", preload.FormatSize(in.Stack.Reserve), preload.FormatSize(in.Stack.Commit))
	row("heap", "%s reserved, %s committed", preload.FormatSize(in.Heap.Reserve), preload.FormatSize(in.Heap.Commit))
	if !img.PE32Plus {
		row("above 2 GiB", "%s", yesNo(in.LargeAddressAware, "yes (large-address-aware)"))
	}
	row("defences", "%s", in.defenceText())
	row("signed", "%s", yesNo(in.Signed, "yes (not verified)"))
	if in.DotNet != nil {
		row(".NET", "%s", map[bool]string{true: "yes, no native code", false: "yes, and native code"}[in.DotNet.Only])
	}
	if in.TLS != nil {
		row("thread storage", "%s and %s", preload.FormatSize(in.TLS.DataSize+uint64(in.TLS.ZeroFill)), plural(in.TLS.Callbacks, "callback"))
	}
	for _, line := range in.versionText() {
		row("version", "%s", line)
	}
	for i, line := range in.importText(textWidth - 16) {
		if i == 0 {
			row("imports", "%s", line)
		} else {
			row("", "%s", line)
		}
	}
	for _, warning := range in.Warnings {
		row("warning", "%s", warning)
	}
	t.Flush()
	if layout != nil {
		in.layoutText(&b, layout)
	}
	return b.String()
}

// layoutText writes the planned layout as a table and as a picture.
func (in *inspection) layoutText(b *strings.Builder, layout *preload.Layout) {
	fmt.Fprintf(b, "\nplanned address space (%s process, program ends at %s)\n", in.Layout.Process, in.Layout.ProgramLimit)
	if in.Layout.Moved != "" {
		fmt.Fprintf(b, "the program will not be at %s: %s\n", in.ImageBase, in.Layout.Moved)
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nSTART\tEND\tSIZE\tSTATE\tREGION")
	for _, r := range in.Layout.Regions {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Start, r.End, preload.FormatSize(r.Size), r.State, r.Name)
	}
	t.Flush()
	fmt.Fprintf(b, "\n%s", layout.Picture())
}

func (in *inspection) relocationText() string {
	switch {
	case in.Relocations == nil && in.Relocatable:
		return "unreadable"
	case in.Relocations == nil || !in.Relocatable:
		return "none: runs at its base only"
	}
	return plural(in.Relocations.Fixups, "address") + " in " + plural(in.Relocations.Blocks, "page")
}

func (in *inspection) defenceText() string {
	var has []string
	for _, d := range []struct {
		name string
		on   bool
	}{{"ASLR", in.ASLR}, {"high-entropy", in.HighEntropyASLR}, {"DEP", in.DEP}, {"CFG", in.CFG}} {
		if d.on {
			has = append(has, d.name)
		}
	}
	if in.SEHandlers > 0 {
		has = append(has, fmt.Sprintf("SafeSEH (%d)", in.SEHandlers))
	}
	if has == nil {
		return "none"
	}
	return strings.Join(has, ", ")
}

func (in *inspection) versionText() []string {
	if in.Version == nil {
		return nil
	}
	parts := []string{in.Version.File}
	for _, key := range []string{"FileVersion", "ProductName", "FileDescription", "CompanyName"} {
		if s := in.Version.Strings[key]; s != "" && !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return wrap(parts, textWidth-16)
}

// importText lists the libraries with the number of functions, wrapped to width.
func (in *inspection) importText(width int) []string {
	if len(in.Imports) == 0 {
		return []string{"none"}
	}
	var words []string
	for _, imp := range in.Imports {
		word := fmt.Sprintf("%s %d", imp.DLL, imp.Functions)
		if imp.Delay {
			word += " (delayed)"
		}
		words = append(words, word)
	}
	return wrap(words, width)
}

// wrap joins words with commas into lines of at most width columns; a longer
// word is cut.
func wrap(words []string, width int) []string {
	var lines []string
	line := ""
	for i, word := range words {
		if r := []rune(word); len(r) > width-1 {
			word = string(r[:width-2]) + "…"
		}
		if i < len(words)-1 {
			word += ","
		}
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// wrapWords breaks text into lines of at most width columns, between words.
func wrapWords(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// clean makes text from a file safe to print: no control characters, which
// could reprogram the terminal, and no invisible ones that reorder the line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}

func access(flags uint32) string {
	s := []byte("---")
	for i, bit := range []uint32{pe.SectionRead, pe.SectionWrite, pe.SectionExecute} {
		if flags&bit != 0 {
			s[i] = "rwx"[i]
		}
	}
	return string(s)
}

func dotted(v [4]uint16) string { return fmt.Sprintf("%d.%d.%d.%d", v[0], v[1], v[2], v[3]) }

func yesNo(b bool, yes string) string {
	if b {
		return yes
	}
	return "no"
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
