package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"winbox/preload/pe"
)

// TestAwkward runs real programs whose images are unlike those of a C compiler: each must be at its base, and everything
// else as planned. (Libraries that want the same base: TestRow11ImagePrelink.)
func TestAwkward(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		seven, launcher := "x64", "64"
		if !m.wide() {
			seven, launcher = "ia32", "32"
		}
		for _, test := range []struct {
			name  string
			file  string
			args  []string
			code  int
			shows bool // a window, and waits for ever
		}{
			// Without relocations, in a 32-bit program.
			{"7-Zip", sevenZipFor(t, seven), []string{"i"}, 0, false},
			// Hundreds of KiB of data behind the last section; without a script there, they end.
			{"console launcher", distlib(t, "t"+launcher), nil, 1, false},
			{"window launcher", distlib(t, "w"+launcher), nil, 0, true},
			// Sections and a start-up of its own linker, and large reservations at fixed addresses.
			{"Go", goProgram(t, m), nil, 0, false},
		} {
			t.Run(test.name, func(t *testing.T) {
				b := m.newBox(t)
				if b.plain != nil {
					t.Skip("is about winbox")
				}
				if test.shows {
					c := b.launch(test.file)
					c.follow()
					await(t, "the address space as planned", func() bool {
						ids := b.containers()
						return len(ids) == 1 && b.call("maps", ids[0]).wait().code() == 0
					})
					b.call("kill", b.containers()[0], "KILL").wait()
					c.wait()
					return
				}
				status := filepath.Join(b.dir, "status")
				c := b.run(append([]string{"--status-file", status, test.file}, test.args...)...)
				if c.code() != test.code {
					t.Errorf("%s: exit code %d, want %d\n%s%s", c, c.code(), test.code, c.text(), c.err.String())
				}
				var got struct {
					Layout *struct {
						ImageBase string
						Broken    []any
					}
				}
				if err := json.Unmarshal([]byte(readFile(t, status)), &got); err != nil {
					t.Fatal(err)
				}
				image, closer, err := pe.OpenFile(test.file)
				if err != nil {
					t.Fatal(err)
				}
				defer closer.Close()
				if got.Layout != nil && (len(got.Layout.Broken) > 0 || got.Layout.ImageBase != fmt.Sprintf("%#x", image.ImageBase)) {
					t.Errorf("linked at %#x, ran at %+v", image.ImageBase, *got.Layout)
				}
			})
		}
	})
}

// distlib gives one of the launchers that Python's installers put before scripts.
func distlib(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join("/usr/lib/python3/dist-packages/distlib", name+".exe")
	if _, err := os.Stat(file); err != nil {
		t.Skipf("needs Debian's package python3-distlib: %v", err)
	}
	return file
}

// goProgram builds a program by the Go compiler.
func goProgram(t *testing.T, m machine) string {
	t.Helper()
	dir := newDir(t)
	source := writeFile(t, dir, "main.go", []byte(`package main

func main() {
	done := make(chan int)
	go func() { done <- len(make([]byte, 64<<20)) }()
	println(<-done)
}
`))
	file := filepath.Join(dir, "program.exe")
	cmd := exec.Command("go", "build", "-o", file, source)
	cmd.Env = append(os.Environ(), "GOOS=windows", "CGO_ENABLED=0", "GOARCH="+m.arch.Arch())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return file
}
