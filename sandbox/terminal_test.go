package sandbox

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestTerminal gives a program a terminal and reads the other side of it.
func TestTerminal(t *testing.T) {
	tests := []struct {
		name   string
		change func(*bundle)
		want   []string
	}{
		{"root", func(*bundle) {}, []string{"0:0"}},
		{"user", func(b *bundle) { b.spec.Process.User = specs.User{UID: 1000, GID: 1000} }, []string{"1000:0"}},
		{"user namespace", func(b *bundle) { b.mapUsers() }, []string{"0:0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := shell(t, `for fd in 0 1 2; do [ -t $fd ] || echo $fd is no terminal; readlink /proc/self/fd/$fd; done
				tty; stty size; stat -c %u:%g /dev/pts/0; cut -d' ' -f7 /proc/self/stat
				[ /dev/console -ef /dev/pts/0 ] || [ "$(stat -c %t:%T /dev/console)" = "$(stat -c %t:%T /dev/pts/0)" ] && echo same
				echo console >/dev/console; echo tty >/dev/tty; read line; echo got $line`)
			b.spec.Process.Terminal = true
			b.spec.Process.ConsoleSize = &specs.Box{Width: 91, Height: 37}
			b.mount(specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}})
			test.change(b)
			var master *os.File
			b.opt.Console = func(m *os.File) error {
				master = m
				return nil
			}
			c := b.create()
			if master == nil {
				t.Fatal("no terminal was handed over")
			}
			defer master.Close()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			out := bufio.NewReader(master)
			text := ""
			for err := error(nil); err == nil; {
				var line string
				line, err = out.ReadString('\n')
				text += strings.ReplaceAll(line, "\r\n", "\n")
				if line == "tty\r\n" { // before, the echo could come in between
					if _, err := master.WriteString("typed\n"); err != nil {
						t.Fatal(err)
					}
				}
				if err != nil && !errors.Is(err, unix.EIO) { // EIO: the other side has been closed
					t.Error(err)
				}
			}
			want := append([]string{"/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n37 91\n"}, test.want...)
			for _, w := range append(want, "\n34816\nsame\nconsole\ntty\n", "typed\ngot typed\n") {
				if !strings.Contains(text, w) {
					t.Errorf("%q is missing from the output:\n%s", w, text)
				}
			}
			if stdout := contents(t, b.out); stdout != "" {
				t.Errorf("written past the terminal: %q", stdout)
			}
		})
	}
}

// TestTerminalErrors checks containers whose terminal cannot be had.
func TestTerminalErrors(t *testing.T) {
	pts := specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}}
	t.Run("nobody takes it", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.spec.Process.Terminal = true
		b.mount(pts)
		b.refused("process.terminal: nobody takes the terminal")
	})
	t.Run("it is not taken", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.spec.Process.Terminal = true
		b.mount(pts)
		b.opt.Console = func(m *os.File) error {
			m.Close()
			return os.ErrClosed
		}
		b.refused("hand the terminal over: file already closed")
	})
	t.Run("no devpts", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.spec.Process.Terminal = true
		b.opt.Console = func(m *os.File) error { return m.Close() }
		b.refused("/dev/pts/ptmx (does the container mount devpts on /dev/pts?): no such file or directory")
	})
}
