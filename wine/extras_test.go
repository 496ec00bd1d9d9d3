package wine

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExtras takes time zones, fonts and certificates out of a root file system, some of which lead out of it.
func TestExtras(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("TZif"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		zoneInfo + "/Europe/Berlin": "TZif2", zoneInfo + "/right/UTC": "TZif2", zoneInfo + "/zone.tab": "# zones", zoneInfo + "/empty": "",
		liberation + "/" + textFonts[0]: "font", liberation + "/Other.ttf": "font",
		caFolder + "/mozilla/b.crt": "B", caFolder + "/mozilla/a.crt": "A\n", caFolder + "/mozilla/README": "no",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for at, to := range map[string]string{zoneInfo + "/Arctic": "Europe/Berlin", zoneInfo + "/localtime": outside} {
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	x := &trimmer{root: root, wine: &Runtime{DataDir: "/usr/share/wine"}, kept: make(map[string]string)}
	if err := x.extras(); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for to := range x.kept {
		kept = append(kept, to)
	}
	slices.Sort(kept)
	if want := []string{path.Join("/usr/share/wine/fonts", textFonts[0]), zoneInfo + "/Arctic", zoneInfo + "/Europe/Berlin"}; !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
	if bundle, err := certificates(root); string(bundle) != "A\nB\n" || err != nil {
		t.Errorf("certificates %q, %v", bundle, err)
	}
	// A file with all goes before.
	if err := os.MkdirAll(filepath.Join(dir, "etc/ssl/certs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, caBundle), []byte("all"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	if err := copyCertificates(root, tree); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(tree, caBundle)); string(data) != "all" || err != nil {
		t.Errorf("certificates %q, %v", data, err)
	}
	if err := os.WriteFile(filepath.Join(dir, caBundle), make([]byte, largestBundle+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := certificates(root); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("too many certificates: %v", err)
	}
}
