package preload

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode"
)

// The picture is made of panels, each a linear scale of its own: an address space
// of 128 TiB with a program of 1 MiB in it shows nothing in one. In a panel, high
// addresses are on top; the plan is the left bar and the fact, if there is one,
// the right. Sizes are in SVG's user units; the picture fits a page.
const (
	panelHeight = 400
	barWidth    = 46
	labelWidth  = 275 // beside two bars
	planWidth   = 230 // beside one
	labelHeight = 12
	panelGap    = 24
	headHeight  = 74
	panelHead   = 34
	panelFoot   = 22
	legendEntry = 196
	maxLabel    = 26
	hairline    = 1.2 // what would be thinner is drawn as a line
)

// look is how a kind of thing is drawn: a tint, and a pattern of dark lines that
// tells it from others on paper without colours.
type look struct {
	id, tint, lines, meaning string
}

// looks are all there are, in the order of the legend. The tints are those of
// Okabe and Ito, which colour-blind people can tell apart, made lighter.
var looks = []look{
	{"fixed", "#0072b2", "", "at this very place; images"},
	{"library", "#56b4e9", "M0 0V8M4 0V8", "library"},
	{"forecast", "#e69f00", "M-2 2L2 -2M0 8L8 0M6 10L10 6", "stack, heap (plan: a forecast)"},
	{"reserved", "#e4e4e4", "M1 1h1M5 5h1", "reserved, unused"},
	{"memory", "#f0e442", "M1 3h2M5 7h2", "allocated memory, mapped files"},
	{"blocks", "#cc79a7", "M0 2h8M0 6h8M2 0v8M6 0v8", "Windows' own blocks"},
	{"native", "#009e73", "M0 2H8M0 6H8", "native code"},
	{"filled", "#bbbbbb", "M-2 6L2 10M0 0L8 8M6 -2L10 2", "filled up after start"},
	{"unmapped", "#ffffff", "M0 0L8 8M8 0L0 8", "never mapped"},
	{"free", "#ffffff", "", "free, or not mapped"},
}

var stateLook = map[State]string{
	StateUnmapped: "unmapped", StateReserved: "reserved", StateFixed: "fixed", StateForecast: "forecast",
	StateNative: "native", StateFree: "free", StateFilled: "filled",
}

var partLook = map[PartKind]string{
	PartProgram: "fixed", PartLibrary: "library", PartStack: "forecast", PartHeap: "forecast",
	PartThreadBlock: "blocks", PartProcessBlock: "blocks", PartSharedUserData: "blocks", PartSharedHeap: "blocks",
	PartFile: "memory", PartMemory: "memory", PartReserved: "reserved", PartFiller: "filled",
	PartPreloader: "native", PartNative: "native", PartNativeStack: "native", PartNativeHeap: "native", PartKernel: "native",
}

// drawn is one thing in a bar.
type drawn struct {
	r       Range
	look    string
	label   string // empty: none
	rank    int    // the higher, the longer its label is kept when there is no room for all
	size    bool   // say in the label how large it is
	verdict Verdict
}

// panel is one scale. What lies in hidden has a panel of its own.
type panel struct {
	r      Range
	hidden []Range
	title  string
}

// SVG draws the plan. title is for people.
func (l *Layout) SVG(title string) []byte { return draw(title, l, nil) }

// SVG draws the plan and beside it what there is; what differs is marked.
func (s *Survey) SVG(title string) []byte { return draw(title, s.Layout, s) }

// planned are the regions as a bar.
func planned(l *Layout, s *Survey) []drawn {
	var bar []drawn
	for i, r := range l.Regions {
		d := drawn{r: r.Range, look: stateLook[r.State], label: r.Name, rank: 1}
		switch {
		case r.Kind == KindImage:
			d.look, d.rank, d.size = "fixed", 3, true
		case r.State == StateForecast:
			d.rank, d.size = 2, true
		case r.Kind == KindSharedUserData || r.Kind == KindSharedHeap:
			d.look = "blocks"
		case r.Kind == KindFree:
			d.rank = 0
		}
		if s != nil {
			d.verdict = s.Findings[i].Verdict
		}
		bar = append(bar, d)
	}
	return bar
}

// found are the parts of a process as a bar.
func found(s *Survey) []drawn {
	var bar []drawn
	for i := range s.Parts {
		p := &s.Parts[i]
		d := drawn{r: p.Range, look: partLook[p.Kind], verdict: p.Verdict}
		switch p.Kind {
		case PartProgram, PartStack, PartHeap:
			d.label, d.rank, d.size = p.Name, 3, true
		case PartLibrary:
			d.label, d.rank = p.Name, 2
		case PartSharedUserData, PartSharedHeap, PartThreadBlock, PartProcessBlock:
			d.label, d.rank = p.Name, 1
		case PartPreloader, PartNativeStack, PartNativeHeap, PartNative, PartKernel:
			if p.Name != "memory" && (p.Kind != PartNative || p.Mappings[0].Native()) { // not all the files of a locale
				d.label = p.Name
			}
		}
		if p.Verdict == Moved || p.Verdict == Broken {
			d.rank = 4
		}
		bar = append(bar, d)
	}
	return bar
}

// panels divides the address space: the lowest megabytes, in which programs are
// dense, the rest in steps, and the top.
func panels(l *Layout) []panel {
	top := l.Regions[len(l.Regions)-1].Range.End
	dense := uint64(8 << 20)
	for _, r := range l.Regions {
		if (r.Kind == KindStack || r.Kind == KindHeap || r.Kind == KindImage) && r.Range.End <= 128<<20 {
			for dense < r.Range.End {
				dense *= 2
			}
		}
	}
	low := Range{0, dense}
	all := []panel{{r: low}}
	if top <= 1<<32 {
		all = append(all, panel{r: Range{0, sharedHeap}, hidden: []Range{low}}, panel{r: Range{sharedHeap, top}})
	} else {
		last := Range{top &^ (256<<20 - 1), top}
		all = append(all,
			panel{r: Range{0, dllAMD64}, hidden: []Range{low}},
			panel{r: Range{dllAMD64, freeAMD64}},
			panel{r: Range{freeAMD64, top}, hidden: []Range{last}},
			panel{r: last})
	}
	for i := range all {
		r := all[i].r
		all[i].title = fmt.Sprintf("%#x to %#x", r.Start, r.End)
	}
	return all
}

// draw makes the picture; s may be nil.
func draw(title string, l *Layout, s *Survey) []byte {
	all := panels(l)
	width, columns := float64(barWidth+planWidth), 3
	if s != nil {
		width, columns = 2*barWidth+2*labelWidth, 2
	}
	rows := (len(all) + columns - 1) / columns
	rowHeight := float64(panelHead + panelHeight + panelFoot)
	pageWidth := float64(columns)*(width+panelGap) + panelGap
	used := usedLooks(l, s)
	perLine := max(1, int((pageWidth-2*panelGap)/legendEntry))
	legendTop := headHeight + float64(rows)*rowHeight + 14
	pageHeight := legendTop + float64((len(used)+perLine-1)/perLine)*20 + 34

	p := &page{}
	p.f(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" font-family="Helvetica, Arial, sans-serif" font-size="10">`+"\n",
		pageWidth, pageHeight, pageWidth, pageHeight)
	p.patterns()
	p.f(`<rect width="100%%" height="100%%" fill="#fff"/>` + "\n")
	p.text(panelGap, 26, `font-size="16" font-weight="bold"`, title)
	what := fmt.Sprintf("Planned address space of an %s program in an %s process; the program ends below %#x.", l.Machine, l.Process, l.ProgramLimit)
	if s != nil {
		what = "Left bars: the plan. Right bars: what the running process has. "
		if n := s.Broken(); n > 0 {
			what += fmt.Sprintf("Broken promises: %d, outlined in red and named BROKEN.", n)
		} else {
			what += "The plan holds."
		}
	}
	p.text(panelGap, 44, "", what)
	p.text(panelGap, 58, `fill="#555"`, "Each panel is to scale by itself, low addresses at the bottom; the bar beside it is the measure. Panels differ in scale. "+
		"What would be thinner than a line is drawn as a line.")
	for i := range all {
		x := panelGap + float64(i%columns)*(width+panelGap)
		y := headHeight + float64(i/columns)*rowHeight
		p.panel(&all[i], x, y, width, l, s)
	}
	for i, k := range used {
		x := panelGap + float64(i%perLine)*legendEntry
		y := legendTop + float64(i/perLine)*20
		p.f(`<rect x="%.1f" y="%.1f" width="22" height="12" fill="url(#%s)" stroke="#000" stroke-width="0.6"/>`+"\n", x, y, k.id)
		p.text(x+28, y+10, "", k.meaning)
	}
	p.f("</svg>\n")
	return p.Bytes()
}

// usedLooks are those that occur, for the legend.
func usedLooks(l *Layout, s *Survey) []look {
	bars := planned(l, s)
	if s != nil {
		bars = append(bars, found(s)...)
		bars = append(bars, drawn{look: "free"})
	}
	var used []look
	for _, k := range looks {
		if slices.ContainsFunc(bars, func(d drawn) bool { return d.look == k.id }) {
			used = append(used, k)
		}
	}
	return used
}

// page collects the file.
type page struct {
	bytes.Buffer
}

func (p *page) f(format string, args ...any) { fmt.Fprintf(p, format, args...) }

// text writes one line of text, which may come from a file.
func (p *page) text(x, y float64, attributes, s string) {
	p.f(`<text x="%.1f" y="%.1f" %s>`, x, y, attributes)
	p.WriteString(html.EscapeString(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)))
	p.f("</text>\n")
}

func (p *page) patterns() {
	p.f("<defs>\n")
	for _, k := range looks {
		p.f(`<pattern id="%s" width="8" height="8" patternUnits="userSpaceOnUse"><rect width="8" height="8" fill="%s"/><path d="%s" stroke="#222" stroke-width="0.7" fill="none"/></pattern>`+"\n",
			k.id, k.tint, k.lines)
	}
	p.f("</defs>\n")
}

// panel draws one panel with its bars, labels and measure.
func (p *page) panel(at *panel, x, y, width float64, l *Layout, s *Survey) {
	barX := x
	if s != nil {
		barX = x + labelWidth
	}
	p.text(x, y+12, `font-size="11" font-weight="bold"`, at.title)
	p.text(x, y+25, `fill="#555"`, FormatSize(at.r.Size())+hiddenText(at))
	top := y + panelHead
	plan := planned(l, s)
	if s == nil {
		p.bar(at, plan, barX, top)
		p.labels(at, plan, barX+barWidth, top, 1)
		p.measure(at, barX+width-6, top)
		return
	}
	fact := found(s)
	p.bar(at, plan, barX, top)
	p.bar(at, fact, barX+barWidth, top)
	p.labels(at, plan, barX, top, -1)
	p.labels(at, fact, barX+2*barWidth, top, 1)
	p.measure(at, x+width+10, top)
}

func hiddenText(at *panel) string {
	if len(at.hidden) == 0 {
		return ""
	}
	h := at.hidden[0]
	if h.Start == at.r.Start {
		return fmt.Sprintf("; lowest %s: panel before", FormatSize(h.Size()))
	}
	return fmt.Sprintf("; topmost %s: next panel", FormatSize(h.Size()))
}

// place gives where a range begins and ends in a panel, from its top.
func (at *panel) place(r Range) (top, bottom float64) {
	scale := panelHeight / float64(at.r.Size())
	r = r.intersect(at.r)
	return float64(at.r.End-r.End) * scale, float64(at.r.End-r.Start) * scale
}

// shows tells whether a range is drawn in a panel.
func (at *panel) shows(r Range) bool {
	for _, h := range at.hidden {
		if h.Contains(r.intersect(at.r)) {
			return false
		}
	}
	return r.Overlaps(at.r)
}

// bar draws one bar.
func (p *page) bar(at *panel, things []drawn, x, top float64) {
	for pass := range 2 { // what is marked is not painted over
		for _, d := range things {
			marked := d.verdict == Broken || d.verdict == Moved
			if !at.shows(d.r) || marked != (pass == 1) {
				continue
			}
			from, to := at.place(d.r)
			height := max(to-from, hairline)
			stroke := `stroke="#000" stroke-width="0.3"`
			switch d.verdict {
			case Broken:
				stroke = `stroke="#d00" stroke-width="2"`
			case Moved:
				stroke = `stroke="#000" stroke-width="1.4" stroke-dasharray="3 2"`
			}
			p.f(`<rect x="%.1f" y="%.2f" width="%d" height="%.2f" fill="url(#%s)" %s/>`+"\n", x, top+min(from, panelHeight-height), barWidth, height, d.look, stroke)
		}
	}
	p.f(`<rect x="%.1f" y="%.1f" width="%d" height="%d" fill="none" stroke="#000" stroke-width="0.8"/>`+"\n", x, top, barWidth, panelHeight)
}

// label is a text beside a bar, and where it points.
type label struct {
	text   string
	at, y  float64
	rank   int
	broken bool
}

// labels writes the names beside a bar: side 1 is right of x, -1 left of it.
func (p *page) labels(at *panel, things []drawn, x, top float64, side float64) {
	var list []label
	for _, d := range things {
		text := d.label
		if text == "" && d.verdict == Broken {
			text = "memory"
		}
		if text == "" || !at.shows(d.r) {
			continue
		}
		if r := []rune(text); len(r) > maxLabel {
			text = string(r[:maxLabel-1]) + "…"
		}
		text = fmt.Sprintf("%#x %s", d.r.Start, text)
		if d.size {
			text += ", " + FormatSize(d.r.Size())
		}
		if d.verdict == Broken || d.verdict == Moved {
			text += map[Verdict]string{Broken: " BROKEN", Moved: " moved"}[d.verdict]
		}
		from, to := at.place(d.r)
		list = append(list, label{text: text, at: (from + to) / 2, rank: d.rank, broken: d.verdict == Broken})
	}
	list = thin(list)
	spread(list)
	anchor := "start"
	if side < 0 {
		anchor = "end"
	}
	for _, t := range list {
		p.f(`<path d="M%.1f %.2fL%.1f %.2f" stroke="#888" stroke-width="0.5" fill="none"/>`+"\n", x, top+t.at, x+14*side, top+t.y)
		attributes := `text-anchor="` + anchor + `"`
		if t.broken {
			attributes += ` font-weight="bold" fill="#d00"`
		}
		p.text(x+16*side, top+t.y+3.5, attributes, t.text)
	}
}

// thin leaves out the least important labels when there is no room for all, and says so.
func thin(list []label) []label {
	const room = panelHeight/labelHeight - 1
	if len(list) <= room {
		return list
	}
	byRank := slices.Clone(list)
	slices.SortStableFunc(byRank, func(a, b label) int { return cmp.Compare(b.rank, a.rank) })
	left := len(byRank) - room
	byRank = byRank[:room]
	rest := label{text: fmt.Sprintf("and %d more, not named", left), at: panelHeight, rank: -1}
	return append(byRank, rest)
}

// spread moves labels apart so that none lies on another, from the top down and back.
func spread(list []label) {
	slices.SortStableFunc(list, func(a, b label) int { return cmp.Compare(a.at, b.at) })
	y := -float64(labelHeight) / 2
	for i := range list {
		list[i].y = max(list[i].at, y+labelHeight)
		y = list[i].y
	}
	y = panelHeight + labelHeight
	for i := len(list) - 1; i >= 0; i-- {
		list[i].y = min(list[i].y, y-labelHeight)
		y = list[i].y
	}
}

// measure draws how long a round number of bytes is in a panel.
func (p *page) measure(at *panel, x, top float64) {
	size := uint64(pageSize)
	for float64(size*2)*panelHeight/float64(at.r.Size()) <= 60 {
		size *= 2
	}
	length := float64(size) * panelHeight / float64(at.r.Size())
	bottom := top + panelHeight
	p.f(`<path d="M%.1f %.1fh-6M%.1f %.1fv%.2fM%.1f %.2fh-6" stroke="#000" stroke-width="1" fill="none"/>`+"\n", x+3, bottom, x, bottom, -length, x+3, bottom-length)
	p.text(x+3, bottom+12, `text-anchor="end"`, FormatSize(size))
}
