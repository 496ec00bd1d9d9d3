package wine

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseDisplay(t *testing.T) {
	for _, test := range []struct {
		text string
		want Display
		says string
	}{
		{"", Display{}, ""},
		{"none", Display{}, ""},
		{"virtual", Display{Kind: DisplayVirtual, Width: 1024, Height: 768, Depth: 24}, ""},
		{"virtual=64x4096", Display{Kind: DisplayVirtual, Width: 64, Height: 4096, Depth: 24}, ""},
		{"virtual=800x600x16", Display{Kind: DisplayVirtual, Width: 800, Height: 600, Depth: 16}, ""},
		{"virtual=", Display{}, "want WIDTHxHEIGHT"},
		{"virtual=800", Display{}, "want WIDTHxHEIGHT"},
		{"virtual=800x600x24x1", Display{}, "want WIDTHxHEIGHT"},
		{"virtual=800x-600", Display{}, `"-600" is not a number`},
		{"virtual=800x600x8", Display{}, "16 or 24"},
		{"virtual=4097x600", Display{}, "from 64 to 4096"},
		{"virtual=800x63", Display{}, "from 64 to 4096"},
		{"none=800x600", Display{}, "is none of"},
		{"Virtual", Display{}, "is none of"},
	} {
		got, err := ParseDisplay(test.text)
		if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %+v, %v; want %+v, %q", test.text, got, err, test.want, test.says)
		}
	}
}

func TestSetDisplay(t *testing.T) {
	const none = registrySignature + "\n\n[Software\\\\Wine\\\\Drivers] 1\n\"Audio\"=\"\"\n\"Graphics\"=\"null\"\n"
	virtual := Display{Kind: DisplayVirtual}
	text, err := setDisplay([]byte(none), virtual)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Audio"=""`, `"Graphics"="x11"`, `[Software\\Wine\\X11 Driver]`, `"Managed"="N"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if again, err := setDisplay(text, virtual); again != nil || err != nil {
		t.Errorf("changed what fits already: %s, %v", again, err)
	}
	if back, err := setDisplay(text, Display{}); err != nil || !strings.Contains(string(back), `"Graphics"="null"`) {
		t.Errorf("without a display: %s, %v", back, err)
	}
	if _, err := setDisplay([]byte("x"), virtual); err == nil {
		t.Error("took a file for a registry that is none")
	}
}

// FuzzSetDisplay: the registry of a prefix that stays is what programs have left. What is made of it is a registry with the
// driver of the display, to which nothing more is to be done.
func FuzzSetDisplay(f *testing.F) {
	f.Add([]byte(registrySignature + "\n\n[Software\\\\Wine\\\\Drivers] 1\n\"Graphics\"=\"null\"\n"))
	f.Add([]byte(registrySignature + "\n;; x\n\n[A] 1\n#time=1\n@=\"x\"\n\"v\"=hex:01,\\\n  02\n"))
	f.Add([]byte(registrySignature + "\n[SoftwAre\\\\Wine\\\\Drivers]\n\"\"=\\"))
	f.Fuzz(func(t *testing.T, data []byte) {
		display := Display{Kind: DisplayVirtual}
		text, err := setDisplay(data, display)
		if text == nil || err != nil {
			return
		}
		if again, err := setDisplay(text, display); again != nil || err != nil {
			t.Errorf("%q becomes %q, and then %q, %v", data, text, again, err)
		}
	})
}

// TestPersistentDisplay: what a program has put in the place of its registry is not followed or replaced.
func TestPersistentDisplay(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte(registrySignature+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(at string) error{
		"link":   func(at string) error { return os.Symlink(outside, at) },
		"folder": func(at string) error { return os.Mkdir(at, 0o755) },
		"socket": func(at string) error { _, err := net.Listen("unix", at); return err },
	} {
		prefix := t.TempDir()
		if err := plant(filepath.Join(prefix, userRegistry)); err != nil {
			t.Fatal(err)
		}
		p, err := OpenPersistent(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.setDisplay(Display{Kind: DisplayVirtual}, Owner{os.Geteuid(), os.Getegid()}); err == nil {
			t.Errorf("%s: no error", name)
		}
		p.Close()
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != registrySignature+"\n" {
		t.Errorf("the file outside has changed: %q, %v", text, err)
	}
}

// TestDialDisplay: what is not a socket is refused, and links are not followed.
func TestDialDisplay(t *testing.T) {
	scratch := Scratch(t.TempDir())
	if _, err := scratch.DialDisplay(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a display: %v", err)
	}
	if err := scratch.makeDisplay(Display{Kind: DisplayVirtual}, false, 0, 0); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(scratch.sockets(), "X1000")
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.Symlink(listener.Addr().String(), at); err != nil {
		t.Fatal(err)
	}
	if _, err := scratch.DialDisplay(t.Context()); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a link: %v", err)
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := scratch.DialDisplay(t.Context()); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	real, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	conn, err := scratch.DialDisplay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
