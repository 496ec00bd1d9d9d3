package wine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// launch runs a program with a template and gives its output and exit code.
func launch(t *testing.T, template *Template, opt Options, name string) (stdout, stderr string, code int) {
	t.Helper()
	var err error
	if opt.Program, err = template.Find(name, opt.Dir, ""); err != nil {
		t.Fatal(err)
	}
	opt.Machine = AMD64
	if opt.Prefix == nil {
		// Not t.TempDir: an overlay's work folder has mode 0.
		opt.Scratch, err = os.MkdirTemp("", "winbox-wine-scratch-")
		if err != nil {
			t.Fatal(err)
		}
		defer removeTree(opt.Scratch)
	}
	c, err := template.Container(opt)
	if err == nil {
		err = c.Prepare()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, errors bytes.Buffer
	code, err = testContainer{stdout: &out, stderr: &errors}.run(ctx, c.Spec)
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
	opt := Options{Dir: dir, Args: []string{"fail", "two words", `quo"te`, `back\`, "grüße €", ""}, Workdir: `D:\EIN ORDNER`}
	out, stderr, code := launch(t, template, opt, "ein ordner/hello.exe")
	want := `command "D:\ein ordner\hello.exe" fail "two words" quo\"te back\ "grüße €" ""
module D:\ein ordner\hello.exe
folder D:\ein ordner
argument fail
argument two words
argument quo"te
argument back\
argument grüße €
argument 
`
	if got := strings.ReplaceAll(out, "\r\n", "\n"); got != want || stderr != "" || code != 7 {
		t.Errorf("exit code %d, output:\n%s%s", code, got, stderr)
	}
}

func TestForeignUser(t *testing.T) {
	template := needWine(t)
	// Not t.TempDir, which only its owner can enter.
	dir, err := os.MkdirTemp("", "winbox-wine-test-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	out, stderr, code := launch(t, template, Options{
		Dir: dir, UID: 1234, GID: 1234,
		Args: []string{"/c", `echo x>D:\there.txt& echo y>C:\new.txt& type C:\new.txt& echo z>%TEMP%\t.txt& type %TEMP%\t.txt& reg add HKCU\Software\X /v v /d 1`},
	}, "cmd")
	if code != 0 || !strings.Contains(out, "y\r\nz\r\n") {
		t.Errorf("exit code %d, output %q %q", code, out, stderr)
	}
	info, err := os.Stat(filepath.Join(dir, "there.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 1234 {
		t.Errorf("the file belongs to %d", uid)
	}
}

func TestPersistentPrefix(t *testing.T) {
	template := needWine(t)
	dir := t.TempDir()
	prefix, err := OpenPersistent(filepath.Join(t.TempDir(), "prefix"))
	if err != nil {
		t.Fatal(err)
	}
	defer prefix.Close()
	if err := prefix.Fit(context.Background(), template, Owner{}, nil, nil, func(s string) { t.Error(s) }); err != nil {
		t.Fatal(err)
	}
	add := []string{"add", `HKCU\Software\Kept`, "/v", "value", "/d", "kept", "/f"}
	if _, stderr, code := launch(t, template, Options{Dir: dir, Prefix: prefix, Args: add}, "reg"); code != 0 {
		t.Fatalf("reg add: exit code %d\n%s", code, stderr)
	}
	query := []string{"query", `HKCU\Software\Kept`, "/v", "value"}
	out, _, code := launch(t, template, Options{Dir: dir, Prefix: prefix, Args: query}, "reg")
	if code != 0 || !strings.Contains(out, "kept") {
		t.Errorf("reg query: exit code %d\n%s", code, out)
	}
	if out, _, code := launch(t, template, Options{Dir: dir, Args: query}, "reg"); code == 0 {
		t.Errorf("the value came into the template:\n%s", out)
	}
}

// TestRandom runs what Go and Rust programs do when they start: load bcryptprimitives.dll and call ProcessPrng.
func TestRandom(t *testing.T) {
	template := needWine(t)
	dir := t.TempDir()
	build(t, dir, "random")
	first, stderr, code := launch(t, template, Options{Dir: dir}, "random.exe")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, first, stderr)
	}
	if second, _, _ := launch(t, template, Options{Dir: dir}, "random.exe"); first == second || first == "" {
		t.Errorf("twice the same: %q", first)
	}
}

// TestFewProcesses checks that the minimal boot leaves a wineserver and the program, by their threads' groups as the
// program sees them.
func TestFewProcesses(t *testing.T) {
	template := needWine(t)
	dir := t.TempDir()
	build(t, dir, "processes")
	for boot, most := range map[Boot]string{BootMinimal: "1", BootFull: ""} {
		out, stderr, code := launch(t, template, Options{Dir: dir, Boot: boot}, "processes.exe")
		if got := strings.TrimSpace(out); code != 0 || most != "" && got != most || most == "" && got <= "1" {
			t.Errorf("boot %s: %s Windows processes, exit code %d\n%s", boot, got, code, stderr)
		}
	}
}

// differsOnPurpose are the lines of the probe that may differ between the stock boot and ours: the override that
// chooses the stock one, keys that drivers make, and the measured frequency.
var differsOnPurpose = regexp.MustCompile(`^environment WINEDLLOVERRIDES=|^key HKLM\\HARDWARE\\DEVICEMAP|^value .* ~MHz type`)

func TestBootFillsTheSame(t *testing.T) {
	template := needWine(t)
	dir := t.TempDir()
	build(t, dir, "probe")
	facts := func(boot Boot) map[string]bool {
		out, stderr, code := launch(t, template, Options{Dir: dir, Boot: boot}, "probe.exe")
		if code != 0 {
			t.Fatalf("probe under the boot %s: exit code %d\n%s", boot, code, stderr)
		}
		lines := make(map[string]bool)
		for line := range strings.Lines(out) {
			if line = strings.TrimRight(line, "\r\n"); !differsOnPurpose.MatchString(line) {
				lines[line] = true
			}
		}
		return lines
	}
	stock, ours := facts(BootFull), facts(BootMinimal)
	for line := range stock {
		if !ours[line] {
			t.Errorf("only under the stock boot: %s", line)
		}
	}
	for line := range ours {
		if !stock[line] {
			t.Errorf("only under ours: %s", line)
		}
	}
	for _, want := range []string{
		"RtlGetVersion 10.0.18362", "name NetBIOS WINBOX", "user winbox", "ticks run", "time runs",
		"environment COMPUTERNAME=WINBOX", "environment USERNAME=winbox", "environment PROCESSOR_ARCHITECTURE=AMD64",
		fmt.Sprintf("environment NUMBER_OF_PROCESSORS=%d", runtime.NumCPU()), `environment TEMP=C:\users\winbox\Temp`,
	} {
		if !ours[want] {
			t.Errorf("missing under ours: %s", want)
		}
	}
}
