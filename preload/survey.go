package preload

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"winbox/preload/pe"
)

// PartKind says what a part of a live address space is. The values are stable:
// they are the "kind" of the JSON that "winbox maps" prints.
type PartKind string

// The kinds of part.
const (
	PartProgram        PartKind = "program"          // the main image
	PartLibrary        PartKind = "library"          // another PE image
	PartStack          PartKind = "stack"            // of a Windows thread
	PartHeap           PartKind = "heap"             // of the process heap
	PartThreadBlock    PartKind = "thread-block"     // TEB
	PartProcessBlock   PartKind = "process-block"    // PEB
	PartSharedUserData PartKind = "shared-user-data" // KUSER_SHARED_DATA
	PartSharedHeap     PartKind = "shared-heap"      // one memory of all processes
	PartFile           PartKind = "file"             // a file that is mapped as data
	PartMemory         PartKind = "memory"           // what the program or the engine has allocated
	PartReserved       PartKind = "reserved"         // nobody can use it, and nothing else can get there
	PartFiller         PartKind = "filler"           // the same above the limit
	PartPreloader      PartKind = "preloader"        // the preloader's own pages
	PartNative         PartKind = "native"           // ELF code and its data
	PartNativeStack    PartKind = "native-stack"     // what the kernel gave the process
	PartNativeHeap     PartKind = "native-heap"      // brk(2)
	PartKernel         PartKind = "kernel"           // vdso and the like
)

// Moved is the verdict on a library that is not at the base that it asks for. No
// promise is broken: on Windows it would have moved as well.
const Moved Verdict = "moved"

// Part is something in a live address space.
type Part struct {
	// Kind and Name say what it is; the name of a file is as in the memory map.
	Kind PartKind
	Name string
	// Range is where it is.
	Range Range
	// Mappings are the kernel's, cut to the range.
	Mappings []Mapping
	// Private is the memory in it that the process alone has, in bytes: counted
	// for images, stacks and heaps.
	Private uint64
	// Base is where an image asks to be, Relocated how many of its pages have
	// addresses in them that a move changes. The latter is counted when it has moved.
	Base      uint64
	Relocated int
	// Committed is how much of a stack or heap may be used without asking for more, in bytes.
	Committed uint64
	// Verdict is about the promises that the part itself is bound by; empty when there is none.
	Verdict Verdict
	// Detail is for people; it may be empty.
	Detail string
	// Region is the index in Layout.Regions of where the part starts.
	Region int
}

// Access lists the different rights of the part's mappings: "r--", "rw-".
func (p *Part) Access() []string {
	var all []string
	for _, m := range p.Mappings {
		if a := m.Perms[:3]; !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// Live is a running process, as Survey needs it: a *Process.
type Live interface {
	io.ReaderAt
	// Mappings is the memory map.
	Mappings() ([]Mapping, error)
	// Image opens the PE file that a mapping shows.
	Image(Mapping) (*pe.Image, io.Closer, error)
	// Private counts the memory that the process alone has, in bytes.
	Private(Range) (uint64, error)
	// Facts are what decides which addresses it can have.
	Facts() ProcessFacts
}

// Survey is what a process has made of a plan.
type Survey struct {
	// Layout is the plan.
	Layout *Layout
	// Findings are about its regions, in order of address, one for each region.
	Findings []Finding
	// Parts are what there is: ascending, not overlapping.
	Parts []Part
	// Report is what the preloader has left of its work, nil when there is none.
	Report *Report
	// Facts are the process's.
	Facts ProcessFacts
}

// Broken tells how many promises do not hold.
func (s *Survey) Broken() int {
	n := 0
	for _, f := range s.Findings {
		if f.Verdict == Broken {
			n++
		}
	}
	for i := range s.Parts {
		if s.Parts[i].Verdict == Broken {
			n++
		}
	}
	return n
}

// Find gives the first part of a kind, or nil.
func (s *Survey) Find(kind PartKind) *Part {
	for i := range s.Parts {
		if s.Parts[i].Kind == kind {
			return &s.Parts[i]
		}
	}
	return nil
}

// ErrNotWindows says that a process has no Windows program in it, or not yet.
var ErrNotWindows = errors.New("no Windows program in this process")

// surveyor collects the parts of one process.
type surveyor struct {
	live   Live
	layout *Layout
	maps   []Mapping
	claims []Part // ascending, not overlapping
	heap   HeapWalker
	images map[uint64]*pe.Image
}

// MainImage finds the PE image that a process runs: what its process block
// names, and the file that is mapped there. It opens the file; the caller closes it.
//
// # Errors
//
// [ErrNotWindows], or an error of p.
func MainImage(p Live) (name string, img *pe.Image, file io.Closer, err error) {
	maps, err := p.Mappings()
	if err != nil {
		return "", nil, nil, err
	}
	blocks, r := threads(p, maps)
	if len(blocks) == 0 {
		return "", nil, nil, ErrNotWindows
	}
	process, ok := r.process(blocks[0].peb)
	if !ok {
		return "", nil, nil, ErrNotWindows
	}
	for i := range maps {
		if m := &maps[i]; m.Range.Start == process.imageBase && m.showsFile() {
			img, file, err = p.Image(*m)
			return m.file(), img, file, err
		}
	}
	return "", nil, nil, ErrNotWindows
}

// isWide tells a 64-bit process: its stack is above 4 GiB. The vsyscall page is in neither.
func isWide(maps []Mapping) bool {
	return slices.ContainsFunc(maps, func(m Mapping) bool { return m.Range.Start > limit4G && m.Range.End <= topAMD64 })
}

// showsFile tells whether m may be the first page of an image: engines map those
// privately from the start of the file.
func (m *Mapping) showsFile() bool {
	return m.Inode != 0 && m.Offset == 0 && m.Perms[3] == 'p' && m.Range.Start%granularity == 0 && !m.Native()
}

// HeapPiece is a part of a heap: a range, of which the first Committed bytes are
// in use.
type HeapPiece struct {
	Range     Range
	Committed uint64
}

// HeapWalker tells what the heap at an address consists of, as its engine keeps
// account of it; nil when it does not know. wide tells a 64-bit program.
type HeapWalker func(mem io.ReaderAt, heap uint64, wide bool) []HeapPiece

// Look surveys a live process that was to be laid out as planned. exe is the name
// of the program's file, as for Audit. Without a HeapWalker, of the process heap
// only the first piece is known.
//
// # Errors
//
// Those of p.Mappings. What cannot be read of a process is left out.
func Look(p Live, l *Layout, exe string, heap HeapWalker) (*Survey, error) {
	maps, err := p.Mappings()
	if err != nil {
		return nil, err
	}
	s := &surveyor{live: p, layout: l, maps: maps, heap: heap, images: make(map[uint64]*pe.Image)}
	s.claimRegions()
	s.claimImages(exe)
	s.claimBlocks()
	survey := &Survey{Layout: l, Parts: s.parts(), Report: readReport(p, l.Process), Facts: p.Facts()}
	for i := range survey.Parts {
		s.judge(&survey.Parts[i], survey.Parts)
	}
	survey.findings(maps, exe)
	return survey, nil
}

// readReport reads what the preloader has left of its work.
func readReport(mem io.ReaderAt, process pe.Machine) *Report {
	b := make([]byte, ReportSize)
	at := ReportAddress(process)
	if at == 0 {
		return nil
	}
	if _, err := mem.ReadAt(b, int64(at)); err != nil {
		return nil
	}
	r, err := ParseReport(b)
	if err != nil {
		return nil
	}
	return r
}

// claim notes that r is the part's, unless something of it is another's already
// or is not mapped.
func (s *surveyor) claim(p Part) bool {
	at, found := slices.BinarySearchFunc(s.claims, p.Range.Start, func(c Part, start uint64) int { return cmp.Compare(c.Range.Start, start) })
	if p.Range.Empty() || found || at > 0 && s.claims[at-1].Range.Overlaps(p.Range) || at < len(s.claims) && s.claims[at].Range.Overlaps(p.Range) {
		return false
	}
	if covered(p.Range, overlapping(s.maps, p.Range)) == 0 {
		return false
	}
	s.claims = slices.Insert(s.claims, at, p)
	return true
}

// claimRegions takes the places that mean one thing in every process.
func (s *surveyor) claimRegions() {
	s.claim(Part{Kind: PartSharedUserData, Name: "shared user data", Range: Range{sharedUserData, sharedUserData + pageSize}})
	for _, r := range s.layout.Regions {
		if r.Kind != KindSharedHeap {
			continue
		}
		for _, m := range overlapping(s.maps, r.Range) {
			if m.Perms[3] == 's' {
				s.claim(Part{Kind: PartSharedHeap, Name: r.Name, Range: m.Range.intersect(r.Range)})
			}
		}
	}
}

// claimImages finds the PE images.
func (s *surveyor) claimImages(exe string) {
	for i := range s.maps {
		m := &s.maps[i]
		if !m.showsFile() {
			continue
		}
		img, file, err := s.live.Image(*m)
		if err != nil {
			continue
		}
		p := Part{Kind: PartLibrary, Name: m.file(), Range: s.extent(i, uint64(img.SizeOfImage)), Base: img.ImageBase}
		if !img.IsDLL() && IsFile(m.file(), exe) {
			p.Kind = PartProgram
		}
		if p.Base != p.Range.Start {
			if t, err := img.Relocations(); err == nil && t != nil {
				p.Relocated = t.Blocks
			}
		}
		file.Close()
		if s.claim(p) {
			s.images[p.Range.Start] = img
		}
	}
}

// extent is how much of an image of that size is there, from mapping i on: up to
// a hole, or another file.
func (s *surveyor) extent(i int, size uint64) Range {
	first := s.maps[i]
	size, _ = alignUp(size, pageSize)
	r := first.Range
	for _, m := range s.maps[i+1:] {
		if m.Range.Start != r.End || r.Size() >= size || m.Inode != 0 && (m.Inode != first.Inode || m.Device != first.Device) {
			break
		}
		r.End = m.Range.End
	}
	r.End = min(r.End, r.Start+max(size, pageSize))
	return r
}

// claimBlocks finds what thread and process blocks know of: stacks and the heap.
func (s *surveyor) claimBlocks() {
	blocks, r := threads(s.live, s.maps)
	if len(blocks) == 0 {
		return
	}
	if process, ok := r.process(blocks[0].peb); ok {
		s.claim(Part{Kind: PartProcessBlock, Name: "process block (PEB)", Range: Range{process.at, process.at + pageSize}})
		s.claimHeap(r, process.heap)
	}
	for i, t := range blocks {
		s.claim(Part{Kind: PartThreadBlock, Name: fmt.Sprintf("thread block (TEB) %x", t.thread), Range: Range{t.at, t.at + 2*pageSize}.intersect(s.mapped(t.at))})
		name := fmt.Sprintf("stack of thread %x", t.thread)
		if i == 0 {
			name = "main thread's stack"
		}
		s.claim(Part{Kind: PartStack, Name: name, Range: t.stack, Committed: t.stack.End - t.limit})
		s.claim(Part{Kind: PartStack, Name: "64-bit " + name, Range: t.engine, Committed: t.engine.Size()})
	}
}

// claimHeap takes what the process heap consists of; when that is not to be
// known, the memory from its start to where the rights end, or something else begins.
func (s *surveyor) claimHeap(r reader, at uint64) {
	if !r.isHeap(at) {
		return
	}
	if s.heap != nil {
		first := false
		for _, piece := range s.heap(s.live, at, r.form == form64) {
			p := Part{Kind: PartHeap, Name: "process heap, further piece", Range: piece.Range, Committed: min(piece.Committed, piece.Range.Size())}
			if p.Range.Start == at {
				p.Name = "process heap"
			}
			if p.Range.Start%pageSize == 0 && p.Range.End%pageSize == 0 && p.Range.Size() == covered(p.Range, overlapping(s.maps, p.Range)) && s.claim(p) {
				first = first || p.Range.Start == at
			}
		}
		if first {
			return
		}
	}
	heap := Range{at, s.mapped(at).End}
	for _, c := range s.claims {
		if c.Range.Start > at {
			heap.End = min(heap.End, c.Range.Start)
		}
	}
	s.claim(Part{Kind: PartHeap, Name: "process heap", Range: heap, Committed: heap.Size()})
}

// mapped is the mapping that an address lies in, or nothing.
func (s *surveyor) mapped(at uint64) Range {
	for _, m := range overlapping(s.maps, Range{at, at + 1}) {
		return m.Range
	}
	return Range{}
}

// parts cuts the memory map where claims and regions begin and end, and names the pieces.
func (s *surveyor) parts() []Part {
	var parts []Part
	claims := s.claims
	for _, m := range s.maps {
		if m.Range.Start >= topAMD64 { // the vsyscall page, which every process has
			continue
		}
		for rest := m.Range; !rest.Empty(); {
			for len(claims) > 0 && claims[0].Range.End <= rest.Start {
				claims = claims[1:]
			}
			piece := m
			piece.Range = rest
			var p Part
			if len(claims) > 0 && claims[0].Range.Start <= rest.Start {
				p = claims[0]
				piece.Range.End = min(rest.End, p.Range.End)
			} else {
				at := s.layout.regionAt(rest.Start)
				piece.Range.End = min(rest.End, s.layout.placeEnd(at))
				if len(claims) > 0 {
					piece.Range.End = min(piece.Range.End, claims[0].Range.Start)
				}
				p = Part{Range: piece.Range, Region: at}
				p.Kind, p.Name = classify(&piece, &s.layout.Regions[at])
				if n := len(parts); n > 0 && parts[n-1].Kind == PartPreloader && parts[n-1].Range.End == rest.Start && m.Path == "" {
					p.Kind, p.Name = PartPreloader, parts[n-1].Name // its variables
				}
			}
			piece.Offset += piece.Range.Start - m.Range.Start
			rest.Start = piece.Range.End
			parts = addPiece(parts, p, piece)
		}
	}
	for i := range parts {
		parts[i].Region = s.layout.regionAt(parts[i].Range.Start)
	}
	return parts
}

// addPiece adds a mapping to the last part if it belongs to it, or else the part.
func addPiece(parts []Part, p Part, piece Mapping) []Part {
	if n := len(parts); n > 0 {
		last := &parts[n-1]
		same := last.Kind == p.Kind && last.Name == p.Name
		if same && last.Range == p.Range || same && last.Range.End == p.Range.Start && last.Region == p.Region && !p.claimed() {
			last.Range.End = max(last.Range.End, p.Range.End)
			last.Mappings = append(last.Mappings, piece)
			return parts
		}
	}
	p.Mappings = []Mapping{piece}
	return append(parts, p)
}

// claimed tells parts whose extent is known from those that are what is left.
func (p *Part) claimed() bool {
	switch p.Kind {
	case PartProgram, PartLibrary, PartStack, PartHeap, PartThreadBlock, PartProcessBlock, PartSharedUserData, PartSharedHeap:
		return true
	}
	return false
}

// classify names what is left when images, stacks and the like are known.
func classify(m *Mapping, r *Region) (PartKind, string) {
	switch {
	case m.Path == "[heap]":
		return PartNativeHeap, "native heap"
	case m.Path == "[stack]":
		return PartNativeStack, "native stack"
	case strings.HasPrefix(m.Path, "[anon"):
		return PartMemory, m.Path
	case strings.HasPrefix(m.Path, "["):
		return PartKernel, m.Path
	case m.Inode != 0 && strings.HasSuffix(m.file(), "-preloader"):
		return PartPreloader, m.file()
	case m.Native() || m.Inode != 0 && r.State == StateNative:
		return PartNative, m.file()
	case m.Inode != 0:
		return PartFile, m.file()
	case r.State == StateFilled && m.Perms[:3] == "---":
		return PartFiller, "filler"
	case r.State == StateNative || r.State == StateFilled:
		return PartNative, "memory"
	case m.Perms[:3] == "---":
		return PartReserved, "reserved"
	}
	return PartMemory, "memory"
}

// regionAt is the index of the region that an address lies in, or of the last.
func (l *Layout) regionAt(at uint64) int {
	i, _ := slices.BinarySearchFunc(l.Regions, at, func(r Region, at uint64) int {
		switch {
		case r.Range.End <= at:
			return -1
		case r.Range.Start > at:
			return 1
		}
		return 0
	})
	return min(i, len(l.Regions)-1)
}

// placeEnd is where a region ends; the last one goes on to the top.
func (l *Layout) placeEnd(i int) uint64 {
	if i == len(l.Regions)-1 {
		return topAMD64
	}
	return l.Regions[i].Range.End
}

// judge says of a part whether it is as it should be.
func (s *surveyor) judge(p *Part, all []Part) {
	switch p.Kind {
	case PartProgram, PartLibrary, PartStack, PartHeap:
		p.Private, _ = s.live.Private(p.Range) // 0 when it is not to be known
	default:
		return
	}
	img := s.images[p.Range.Start]
	engines := strings.HasPrefix(p.Name, "64-bit ") || img != nil && img.Machine != s.layout.Machine // in a process with both kinds of code
	if !engines && p.Range.End > s.layout.ProgramLimit {
		p.Verdict, p.Detail = Broken, fmt.Sprintf("ends above %#x, the limit of this program", s.layout.ProgramLimit)
		return
	}
	switch p.Kind {
	case PartProgram, PartLibrary:
		if p.Base == p.Range.Start {
			p.Verdict, p.Detail = Held, "at its base"
			return
		}
		p.Verdict = Moved
		p.Detail = fmt.Sprintf("wants %#x%s; %s relocated, %s private", p.Base, why(p, img, all), pages(p.Relocated), FormatSize(p.Private))
	case PartStack:
		p.Detail = fmt.Sprintf("%s committed, %s private", FormatSize(p.Committed), FormatSize(p.Private))
		if p.Name == "main thread's stack" {
			p.Verdict = Held
			if p.Range.Size() < s.layout.StackSize {
				p.Verdict, p.Detail = Broken, fmt.Sprintf("the program asks for %s", FormatSize(s.layout.StackSize))
			}
		}
	case PartHeap:
		p.Verdict, p.Detail = Held, fmt.Sprintf("%s committed, %s private", FormatSize(p.Committed), FormatSize(p.Private))
	}
}

// why says what has moved an image.
func why(p *Part, img *pe.Image, all []Part) string {
	wanted := Range{p.Base, p.Base + p.Range.Size()}
	for i := range all {
		if o := &all[i]; o.Kind != PartReserved && o.Kind != PartFiller && o.Range.Overlaps(wanted) && o.Range != p.Range {
			return ", where " + o.Name + " is"
		}
	}
	if img != nil && img.DLLCharacteristics&pe.DynamicBase != 0 {
		return ", but may be anywhere (ASLR)"
	}
	return ""
}

func pages(n int) string {
	if n == 1 {
		return "1 page"
	}
	return fmt.Sprintf("%d pages", n)
}

// findings are about every region: what Audit says, and where forecast things are.
func (s *Survey) findings(maps []Mapping, exe string) {
	audit := Audit(s.Layout, maps, exe)
	for _, r := range s.Layout.Regions {
		if len(audit) > 0 && audit[0].Region == r {
			s.Findings = append(s.Findings, audit[0])
			audit = audit[1:]
			continue
		}
		f := Finding{Region: r}
		kind := map[Kind]PartKind{KindStack: PartStack, KindHeap: PartHeap}[r.Kind]
		if r.State == StateForecast && kind != "" {
			f.Detail = "not found"
			if p := s.Find(kind); p != nil {
				f.Detail = fmt.Sprintf("at %#x", p.Range.Start)
			}
		}
		s.Findings = append(s.Findings, f)
	}
}
