package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestStreams sends bytes of all kinds through a program.
func TestStreams(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	filter := b.program("filter")
	data := make([]byte, 5<<20+123)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	// What a text mode would change or end at.
	copy(data, "\x1a\r\n\n\r\x00\xff\x04\x03")
	writeFile(t, b.dir, "in", data)
	said := fmt.Sprintf("%d bytes\n", len(data))

	check := func(t *testing.T, c *call, out, want []byte, said string) {
		t.Helper()
		if c.code() != 0 || c.err.String() != said {
			t.Errorf("exit code %d, standard error %q, want %q", c.code(), c.err.String(), said)
		}
		if !bytes.Equal(out, want) {
			t.Errorf("%d bytes came back, which are not the %d sent", len(out), len(want))
		}
	}
	t.Run("pipes", func(t *testing.T) {
		c := b.launch(filter)
		c.Stdin = bytes.NewReader(data)
		c.wait()
		check(t, c, c.out.Bytes(), data, said)
	})
	t.Run("files", func(t *testing.T) {
		in, err := os.Open(filepath.Join(b.dir, "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := os.OpenFile(filepath.Join(b.dir, "out"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		c := b.launch(filter)
		c.Stdin, c.Stdout = in, out
		c.wait()
		check(t, c, []byte(readFile(t, filepath.Join(b.dir, "out"))), data, said)
	})
	t.Run("null device", func(t *testing.T) {
		c := b.run(filter) // os/exec opens /dev/null
		check(t, c, c.out.Bytes(), nil, "0 bytes\n")
	})
	t.Run("output to the null device", func(t *testing.T) {
		c := b.launch(filter)
		c.Stdin, c.Stdout = bytes.NewReader(data), nil
		c.wait()
		check(t, c, nil, nil, said)
	})
	for name, closed := range map[string]string{"input closed": "<&-", "input and output closed": "<&- >&-"} {
		t.Run(name, func(t *testing.T) {
			c := b.launch(filter)
			// Only a shell starts a process without a descriptor.
			c.Args = append([]string{"sh", "-c", `exec "$0" "$@" ` + closed, c.Path}, c.Args[1:]...)
			c.Path = "/bin/sh"
			c.wait()
			check(t, c, c.out.Bytes(), nil, "0 bytes\n")
		})
	}
	t.Run("both ways at once", func(t *testing.T) {
		// As in a dialogue: each line must come through before the next is sent.
		c := b.launch(filter)
		stdin := c.follow()
		for i := range 20 {
			want := fmt.Sprintf("line %d", i)
			if _, err := stdin.Write([]byte(want + "\n")); err != nil {
				t.Fatal(err)
			}
			if got := c.line(); got != want {
				t.Errorf("%q came back for %q", got, want)
			}
		}
		if err := stdin.Close(); err != nil {
			t.Error(err)
		}
		if c.wait(); c.code() != 0 {
			t.Errorf("exit code %d", c.code())
		}
	})
}
