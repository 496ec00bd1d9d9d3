package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winbox/sandbox/resctrl"
)

// TestUpdateResctrl changes the shares of a container that has a class, and of one
// that has none where there is no resctrl.
func TestUpdateResctrl(t *testing.T) {
	b := sleeper(t)
	c := b.begin()
	if _, err := resctrl.Mounted(); err != nil {
		if got := c.UpdateResctrl("L3:0=f", ""); got == nil || got.Error() != "linux.intelRdt: "+err.Error() {
			t.Errorf("error %v, want %v", got, err)
		}
		if again, err := Load(b.opt.Root, b.opt.ID); err != nil || again.rec.Resctrl != nil {
			t.Errorf("%+v, %v: a class is noted", again, err)
		}
	}
	// A directory stands for the file system.
	dir := t.TempDir()
	file := filepath.Join(dir, "schemata")
	c.rec.Resctrl = &resctrl.Group{Root: dir, Dir: dir}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"L3:0=f\nMB:0=20\n", "MB:0=70\n"} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		l3Cache, bandwidth, _ := strings.Cut(want, "\n")
		if strings.HasPrefix(l3Cache, "MB:") {
			l3Cache, bandwidth = "", l3Cache
		}
		if err := c.UpdateResctrl(l3Cache, strings.TrimSpace(bandwidth)); err != nil {
			t.Error(err)
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != want {
			t.Errorf("schemata %q, %v, want %q", data, err, want)
		}
	}
	if err := c.UpdateResctrl("", "x"); err == nil || !strings.HasPrefix(err.Error(), "linux.intelRdt: memBwSchema: ") {
		t.Errorf("error %v", err)
	}
}
