package wine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFetchWithoutUpdates has mmdebstrap fail for one archive or the other: builds do without security updates, but not
// without packages.
func TestFetchWithoutUpdates(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, as a build of packages does")
	}
	const program = `#!/bin/sh
echo "$@" | grep -q "$BROKEN" && { echo "E: Failed to fetch http://example.org/$BROKEN/main/binary-i386/Packages  File has unexpected size"; echo I: cleanup; exit 25; }
for last; do case $last in */packages) mkdir "$last";; esac; done
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mmdebstrap"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, test := range []struct{ broken, missing, fails string }{
		{"none-of-these", "", ""},
		{"trixie-security", "Failed to fetch http://example.org/trixie-security/main/binary-i386/Packages  File has unexpected size", ""},
		{"mirror/debian", "", "File has unexpected size"},
	} {
		t.Setenv("BROKEN", test.broken)
		draft := t.TempDir()
		source, missing, err := fetch(context.Background(), BuildOptions{Mirror: "http://mirror/debian", WoW64: WoW64None}, draft, filepath.Join(draft, "packages"), func(int, string) {})
		if missing != test.missing || (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("%s is broken: missing %q, error %v", test.broken, missing, err)
		}
		if err == nil && source != "http://mirror/debian trixie" {
			t.Errorf("source %q", source)
		}
	}
}
