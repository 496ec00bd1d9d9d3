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
		b.run("--encoding", "cp1252", "cmd", "/c", "echo äöü€Ж").want(0, "äöü€?\n")
		if line := b.run("--encoding", "utf-16be", "cmd", "/c", "exit").wantLine(failed); !strings.Contains(line, `"utf-16be"`) {
			t.Errorf("says %q", line)
		}
		if line := b.run("--encoding", "cp999", "cmd", "/c", "exit").wantLine(failed); !strings.Contains(line, "code page 999") {
			t.Errorf("says %q", line)
		}
		if line := b.run("--encoding", "latin1", "cmd", "/c", "exit").wantLine(failed); !strings.Contains(line, `"latin1"`) {
			t.Errorf("says %q", line)
		}
	})
}

// TestEncoding has programs whose streams are UTF-16 or in a code page of one or two bytes a letter, while the caller's are
// UTF-8: through pipes and files, by launch, as a bundle, and executed.
func TestEncoding(t *testing.T) {
	t.Parallel()
	newWine := machines[0]
	newWine.name, newWine.kind = "amd64 with a newer Wine", "i386"
	latin, kana := "Grüße, ÿ", "かな漢字ｱ表A"
	for _, m := range append([]machine{newWine}, machines...) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			b := m.newBox(t)
			writeFile(t, b.dir, "wide.exe", []byte(readFile(t, m.build(t, "wide.exe", "wide", "-finput-charset=UTF-8"))))
			for _, test := range []struct {
				encoding, arg, text string
				bytes               int
			}{
				{"utf-16", "", text + "\r\n", 2 * 11},
				{"utf-16", "mark", text, 2 * 9},
				{"cp1252", "", latin, 8},
				{"cp932", "", kana, 12},
			} {
				const times = 20000
				long, said := strings.Repeat(test.text, times), fmt.Sprintf("%d bytes: €\n", test.bytes*times)
				c := b.launch("--encoding", test.encoding, "wide.exe", test.arg)
				c.Stdin = strings.NewReader(long)
				c.wait()
				if c.code() != 9 || c.out.String() != long {
					t.Errorf("%s %s: exit code %d, %d bytes, want %d", test.encoding, test.arg, c.code(), c.out.Len(), len(long))
				}
				if test.encoding == "utf-16" && c.err.String() != said {
					t.Errorf("%s %s: standard error %q, want %q", test.encoding, test.arg, c.err.String(), said)
				}
			}
			// A file is converted as a pipe is.
			c := b.launch("--encoding", "utf-16", "cmd", "/u", "/c", "echo "+text)
			file, err := os.Create(filepath.Join(b.dir, "out.txt"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			c.Stdout = file
			if c.wait(); c.code() != 0 || readFile(t, file.Name()) != text+"\r\n" {
				t.Errorf("exit code %d, the file has %q", c.code(), readFile(t, file.Name()))
			}
		})
	}
	t.Run("bundle", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		id := b.id("encoding")
		bundle := b.bundle(func(s *specs.Spec) { s.Annotations = map[string]string{"io.winbox.encoding": "utf-16"} },
			system32+"cmd.exe", "/u", "/c", "echo "+text+"& set /p line=")
		c := b.call("run", "--bundle", bundle, id)
		stdin := c.follow()
		if line := strings.TrimSpace(c.line()); line != text {
			t.Errorf("the bundle's program says %q", line)
		}
		e := b.call("exec", id, system32+"cmd.exe", "/u", "/c", "echo "+text).wait()
		if e.code() != 0 || e.text() != text+"\n" {
			t.Errorf("exit code %d, the executed one says %q, %q", e.code(), e.text(), e.err.String())
		}
		stdin.Close()
		c.wait()
	})
}
