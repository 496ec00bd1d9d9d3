package hive_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"winbox/images/hive"
	"winbox/images/hive/hivetest"
)

// list reads a hive as text, a line a key or value.
func list(data []byte) (string, error) {
	h, err := hive.Open(data)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = h.Walk(func(k hive.Key) error {
		fmt.Fprintf(&b, "%s gone=%v\n", strings.Join(k.Path, `\`), k.Gone)
		for _, v := range k.Values {
			fmt.Fprintf(&b, "  %s %d %x gone=%v\n", v.Name, v.Type, v.Data, v.Gone)
		}
		return nil
	})
	return b.String(), err
}

// sample has all that the reader knows.
func sample() []byte {
	return hivetest.Write(hivetest.Key{Name: "ROOT", Keys: []hivetest.Key{
		{Name: "A", Values: []hive.Value{{Name: "s", Type: 1, Data: hivetest.Text("text")}, {Name: "", Type: 4, Data: []byte{1, 2, 3, 4}}, {Name: "big", Type: 3, Data: bytes.Repeat([]byte("x"), 40000)}}},
		{Name: "Ä", Keys: []hivetest.Key{{Name: "ключ", Values: []hive.Value{{Name: "имя", Type: 3, Data: []byte("12345")}}}}},
		{Name: "C", Gone: true}, {Name: "D", Values: []hive.Value{{Name: "v", Gone: true}}}, {Name: "E"},
	}})
}

func TestRead(t *testing.T) {
	got, err := list(sample())
	want := " gone=false\nA gone=false\n  s 1 7400650078007400" + "0000 gone=false\n   4 01020304 gone=false\n  big 3 " + strings.Repeat("78", 40000) +
		" gone=false\nÄ gone=false\nÄ\\ключ gone=false\n  имя 3 3132333435 gone=false\nC gone=true\nD gone=false\n  v 0  gone=true\nE gone=false\n"
	if err != nil || got != want {
		t.Errorf("%v\n%.2000s", err, got)
	}
}

// TestOthers compares with hivex, another implementation: it reads what the tests write, and what it writes is read.
func TestOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hive")
	if err := os.WriteFile(file, sample(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("hivexml", file).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("ключ")) || !bytes.Contains(out, []byte(`value="text"`)) {
		t.Errorf("hivexml: %v\n%.2000s", err, out)
	}
	cmd := exec.Command("hivexsh", "-w", file)
	cmd.Stdin = strings.NewReader("cd E\nadd Written\ncd Written\nsetval 2\n@\nstring:hello\nNumber\ndword:0x11223344\ncommit\n")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("hivexsh: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := list(data)
	if want := "E\\Written gone=false\n   1 680065006c006c006f000000 gone=false\n  Number 4 44332211 gone=false\n"; err != nil || !strings.HasSuffix(got, want) {
		t.Errorf("%v\n%s", err, got[max(0, len(got)-400):])
	}
}

func TestDamaged(t *testing.T) {
	good := sample()
	at := func(text string) int { return bytes.Index(good, []byte(text)) }
	for name, test := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"empty":        {func([]byte) []byte { return nil }, "not a registry hive"},
		"checksum":     {func(b []byte) []byte { b[40]++; return b }, "checksum"},
		"cut off":      {func(b []byte) []byte { return b[:len(b)-8] }, "should have"},
		"no root":      {func(b []byte) []byte { b[36] = 0xfc; b[37] = 0xff; hivetest.Seal(b); return b }, "damaged"},
		"version":      {func(b []byte) []byte { b[20] = 2; hivetest.Seal(b); return b }, "unknown kind"},
		"list":         {func(b []byte) []byte { b[at("ri")+2] = 200; return b }, "too long"},
		"kind of list": {func(b []byte) []byte { b[at("ri")] = 'x'; return b }, "no list of keys"},
		"size of cell": {func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at("vk")-4:], 16); return b }, "size of -16"},
		"loop": {func(b []byte) []byte { // a list that leads to the root
			binary.LittleEndian.PutUint32(b[at("li")+4:], binary.LittleEndian.Uint32(b[36:]))
			return b
		}, "levels"},
	} {
		if _, err := list(test.change(bytes.Clone(good))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// FuzzHive reads damaged hives.
func FuzzHive(f *testing.F) {
	f.Add(sample())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 512 {
			hivetest.Seal(data)
		}
		h, err := hive.Open(data)
		if err != nil {
			return
		}
		total := 0
		h.Walk(func(k hive.Key) error {
			for _, v := range k.Values {
				total += len(v.Data)
			}
			return nil
		})
		if total > 2*hive.MaxSize {
			t.Errorf("%d bytes of values", total)
		}
	})
}
