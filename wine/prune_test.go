package wine

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPrune checks what of a store counts as needed.
func TestPrune(t *testing.T) {
	s := OpenStore(t.TempDir())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	template := func(digest string) string {
		return filepath.Join(s.dataRoot, "templates", "wine-10.0-"+templateDigest([]byte("sha256:"+digest)))
	}
	digests := make(map[string]string)
	for i, name := range []string{"named", "used", "unnamed"} {
		digest := strings.Repeat(string(rune('a'+i)), 64)
		digests[name] = digest
		tree := filepath.Join(s.dir(), treePrefix+digest)
		must(os.MkdirAll(filepath.Join(tree, "root"), 0o755))
		data, err := json.Marshal(Record{Digest: "sha256:" + digest})
		must(err)
		must(os.WriteFile(filepath.Join(tree, "runtime.json"), data, 0o644))
		must(os.MkdirAll(template(digest), 0o755))
	}
	must(os.Symlink(treePrefix+digests["named"], filepath.Join(s.dir(), "named")))
	must(os.MkdirAll(filepath.Join(s.dataRoot, "templates", "wine-8.0-gone"), 0o755))
	container := filepath.Join(s.dataRoot, "containers", "c")
	must(os.MkdirAll(container, 0o755))
	must(os.Symlink(filepath.Join(s.dir(), treePrefix+digests["used"], "root"), filepath.Join(container, runtimeLink)))

	prune := func(all bool) []string {
		t.Helper()
		for _, dry := range []bool{true, false} {
			list, err := s.Prune(context.Background(), all, dry)
			must(err)
			var names []string
			for _, p := range list {
				names = append(names, p.Kind+" "+p.Name)
			}
			if !dry {
				return names
			}
			again, err := s.Prune(context.Background(), all, true)
			must(err)
			if len(again) != len(list) {
				t.Errorf("a dry run has removed something: %v, then %v", list, again)
			}
		}
		return nil
	}
	want := func(got []string, want ...string) {
		t.Helper()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("removed %q, want %q", got, want)
		}
	}
	templateName := func(name string) string { return "template " + filepath.Base(template(digests[name])) }
	// The container does not say which template it uses: it may be any.
	want(prune(false), "runtime sha256:"+digests["unnamed"])
	must(os.Symlink(template(digests["unnamed"]), filepath.Join(container, templateLink)))
	want(prune(false), "template wine-8.0-gone")
	want(prune(true), "runtime named", templateName("named"))
	must(os.RemoveAll(container))

	hold, err := s.Hold()
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if list, err := s.Prune(ctx, true, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside a hold: %v, %v", list, err)
	}
	hold.Close()
	want(prune(true), "runtime sha256:"+digests["used"], templateName("used"), templateName("unnamed"))
	want(prune(true))
}
