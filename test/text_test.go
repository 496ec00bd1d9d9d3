package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// text has letters of several scripts, and one that is two units of UTF-16.
const text = "äöüßЖ€あ😀"

// TestText sends text through programs in UTF-8, which the default encoding makes their code page.
func TestText(t *testing.T) {
	t.Parallel()
	newWine := machines[0]
	newWine.name, newWine.kind = "amd64 with a newer Wine", "i386"
	for _, m := range append([]machine{newWine}, machines...) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			b := m.newBox(t)
			writeFile(t, b.dir, "text.exe", []byte(readFile(t, m.build(t, "text.exe", "text", "-lshell32"))))
			c := b.launch("-e", "TEXT="+text, "text.exe", text)
			c.Stdin = strings.NewReader(text + "\n")
			c.wait().want(0, fmt.Sprintf("code pages 65001 65001\nargument %[1]s %[1]s\nvariable %[1]s %[1]s\nfile %[1]s\nline %[1]s of 9\n", text))
			if _, err := os.Stat(filepath.Join(b.dir, text)); err != nil {
				t.Error(err)
			}

			// Windows' own programs, with files and pipes.
			writeFile(t, b.dir, "in.txt", []byte(text+"\r\n"))
			writeFile(t, b.dir, "do.bat", []byte("@echo off\r\necho "+text+"\r\ntype in.txt\r\nmore <in.txt\r\necho "+text+">out.txt\r\n"))
			if c := b.run("cmd", "/c", "echo "+text+"& do.bat"); c.code() != 0 || strings.TrimSpace(c.text()) != strings.TrimSpace(strings.Repeat(text+"\n", 4)) {
				t.Errorf("exit code %d, output %q", c.code(), c.text())
			}
			if got := readFile(t, filepath.Join(b.dir, "out.txt")); got != text+"\r\n" {
				t.Errorf("the file has %q", got)
			}
		})
	}
	t.Run("bundle", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		writeFile(t, b.dir, "text.exe", []byte(readFile(t, build(t, "text", "text", "-lshell32"))))
		for encoding, want := range map[string]string{"": "65001 65001", "cp850": "850 850"} {
			bundle := b.bundle(func(s *specs.Spec) {
				b.bare("text.exe")(s)
				s.Process.Cwd = "/app"
				if encoding != "" {
					s.Annotations = map[string]string{"io.winbox.encoding": encoding}
				}
			}, "/app/text.exe", "x")
			if c := b.call("run", "--bundle", bundle, b.id("text")).wait(); !strings.HasPrefix(c.text(), "code pages "+want+"\n") {
				t.Errorf("encoding %q: exit code %d, output %q, error %q", encoding, c.code(), c.text(), c.err.String())
			}
		}
	})
	t.Run("code page", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		b.run("--encoding", "cp1252", "cmd", "/c", "echo äöü€Ж").want(0, "\xe4\xf6\xfc\x80?\n")
		if line := b.run("--encoding", "cp999", "cmd", "/c", "exit").wantLine(failed); !strings.Contains(line, "code page 999") {
			t.Errorf("says %q", line)
		}
		if line := b.run("--encoding", "latin1", "cmd", "/c", "exit").wantLine(failed); !strings.Contains(line, `"latin1"`) {
			t.Errorf("says %q", line)
		}
	})
}
