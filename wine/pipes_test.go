package wine

import (
	"slices"
	"testing"

	"winbox/preload/pe"
)

func TestParsePipes(t *testing.T) {
	for name, want := range map[string]Pipes{"": PipesAuto, "auto": PipesAuto, "windows": PipesWindows, "unix": PipesUnix} {
		if got, err := ParsePipes(name); err != nil || got != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"Windows", "none", " "} {
		if got, err := ParsePipes(name); err == nil {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestBridgeCommand(t *testing.T) {
	spec, _, _ := specFor(t, func(opt *Options) { opt.Bridge.Pipes = true })
	args := spec.Process.Args
	if len(args) < 4 || args[2] != "/run/winbox/pipes.exe" || ProgramOf(args) != `E:\app.exe` {
		t.Errorf("command %q", args)
	}
	if without := slices.Delete(slices.Clone(args), 2, 3); ProgramOf(without) != `E:\app.exe` {
		t.Errorf("the program of %q is %q", without, ProgramOf(without))
	}
	for _, command := range [][]string{nil, {"a", "b"}} {
		if got := ProgramOf(command); got != "" {
			t.Errorf("the program of %q is %q", command, got)
		}
	}
}

func TestAsksForPipes(t *testing.T) {
	if asksForPipes(&pe.Image{}) {
		t.Error("a program without imports asks for pipes")
	}
}
