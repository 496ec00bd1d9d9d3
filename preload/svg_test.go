package preload_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe/petest"
)

// TestPlanSVG draws the plans of 64- and 32-bit programs.
func TestPlanSVG(t *testing.T) {
	for _, tt := range plans {
		l, err := preload.Plan(image(t, tt.im), tt.opt)
		if err != nil {
			t.Fatal(err)
		}
		svg := string(l.SVG("app.exe"))
		checkSVG(t, svg)
		golden(t, tt.name+".svg", svg)
	}
}

// TestSurveySVG marks what is broken, and lets no name out of its place.
func TestSurveySVG(t *testing.T) {
	l, err := preload.Plan(image(t, petest.Image{Base: 0x400000, SizeOfImage: 0x3d000, StackReserve: 64 << 20}), preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := wine8(t)
	for i := range p.maps {
		p.maps[i].Path = strings.ReplaceAll(p.maps[i].Path, "msvcrt", "<script>\x1b\u202e")
	}
	p.images["<script>\x1b\u202e.dll"] = p.images["msvcrt.dll"]
	p.maps = slices.DeleteFunc(p.maps, func(m preload.Mapping) bool { return m.Range.Start == 0x6fff00000000 })
	s, err := preload.Look(p, l, "p400.exe", nil)
	if err != nil {
		t.Fatal(err)
	}
	svg := string(s.SVG("p400.exe <&> \x00"))
	checkSVG(t, svg)
	for _, want := range []string{"0x440000 main thread&#39;s stack, 4 MiB BROKEN", "0x6fff00000000 relocated libraries BROKEN", "script&gt;\uFFFD\uFFFD.dll moved", "Broken promises: 2,", `stroke="#d00"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q", want)
		}
	}
	golden(t, "survey-broken.svg", svg)
}

// checkSVG reads a picture as XML, and looks whether texts lie on one another or outside.
func checkSVG(t *testing.T, svg string) {
	t.Helper()
	var width, height float64
	lines := map[string][]float64{} // by x and anchor
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		a := map[string]string{}
		for _, attr := range e.Attr {
			a[attr.Name.Local] = attr.Value
		}
		number := func(name string) float64 {
			v, err := strconv.ParseFloat(a[name], 64)
			if err != nil || math.IsNaN(v) || v < -0.1 {
				t.Errorf("%s: %s=%q", e.Name.Local, name, a[name])
			}
			return v
		}
		switch e.Name.Local {
		case "svg":
			width, height = number("width"), number("height")
		case "script":
			t.Error("a script")
		case "text":
			x, y := number("x"), number("y")
			if x > width || y > height {
				t.Errorf("text at %g, %g of %g, %g", x, y, width, height)
			}
			lines[a["x"]+a["text-anchor"]] = append(lines[a["x"]+a["text-anchor"]], y)
		}
	}
	if width > 1.7*height || height > 1.5*width {
		t.Errorf("%g by %g does not fit a page", width, height)
	}
	for at, ys := range lines {
		slices.Sort(ys)
		for i := 1; i < len(ys); i++ {
			if ys[i]-ys[i-1] < 11.8 {
				t.Errorf("texts at %s overlap: %g and %g", at, ys[i-1], ys[i])
			}
		}
	}
}
