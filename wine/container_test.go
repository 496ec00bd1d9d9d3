package wine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// launch runs a program with a template and gives its output and exit code.
func launch(t *testing.T, template *Template, opt Options, name string) (stdout, stderr string, code int) {
	t.Helper()
	var err error
	if opt.Program, err = template.Find(name, opt.Dir, opt.Prefix); err != nil {
		t.Fatal(err)
	}
	opt.Machine = AMD64
	if opt.Prefix == "" {
		// Not t.TempDir: an overlay's work folder has mode 0.
		opt.Scratch, err = os.MkdirTemp("", "winbox-wine-scratch-")
		if err != nil {
			t.Fatal(err)
		}
		defer removeTree(opt.Scratch)
	}
	spec, err := template.Spec(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, errors bytes.Buffer
	code, err = testContainer{stdout: &out, stderr: &errors}.run(ctx, spec)
	if err != nil {
		t.Fatalf("run: %v\n%s", err, errors.String())
	}
	return out.String(), errors.String(), code
}

func TestHello(t *testing.T) {
	template := needWine(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "ein ordner"), 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, filepath.Join(dir, "ein ordner"), "hello")
	start := time.Now()
	out, stderr, code := launch(t, template, Options{Dir: dir, Args: []string{"fail", "two words", `quo"te`, `back\`, "grüße €", ""}}, "ein ordner/hello.exe")
	t.Logf("%v\n%s\n%s\n%d", time.Since(start), out, stderr, code)
}
